package cluster

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/request"
)

// unfinished makes the API server leave out the pods whose containers have all ended for good: they
// ask for nothing any more.
var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
).String()

// Roles reads what asks for roles in a namespace, or in all if it is "", and the Secrets. What the
// user may not list is left out of the Snapshot, and refused has the errors.
func (c *Cluster) Roles(ctx context.Context, namespace string) (s *usage.Snapshot, refused []error, err error) {
	s = &usage.Snapshot{}
	for _, read := range []func(context.Context, string, *usage.Snapshot) error{c.readSecrets, c.readPods, c.readAccounts, c.readAWSIAMRoles} {
		switch err := read(ctx, namespace, s); {
		case apierrors.IsForbidden(err):
			refused = append(refused, err)
		case err != nil:
			return nil, nil, err
		}
	}
	if len(refused) == 4 {
		return nil, nil, errors.Join(refused...)
	}
	return s, refused, nil
}

func (c *Cluster) readSecrets(ctx context.Context, namespace string, s *usage.Snapshot) (err error) {
	s.Secrets, err = list(ctx, listOf(c.metadataOf(Secrets, namespace).List), metav1.ListOptions{}, usage.KeepSecret)
	s.SecretsKnown = err == nil
	return err
}

func (c *Cluster) readPods(ctx context.Context, namespace string, s *usage.Snapshot) (err error) {
	s.Pods, err = list(ctx, listOf(c.Kubernetes.CoreV1().Pods(namespace).List), metav1.ListOptions{FieldSelector: unfinished}, usage.KeepPod)
	return err
}

func (c *Cluster) readAccounts(ctx context.Context, namespace string, s *usage.Snapshot) (err error) {
	s.Accounts, err = list(ctx, listOf(c.metadataOf(ServiceAccounts, namespace).List), metav1.ListOptions{}, request.ReduceServiceAccount)
	return err
}

// readAWSIAMRoles finds none in a cluster without their CRD.
func (c *Cluster) readAWSIAMRoles(ctx context.Context, namespace string, s *usage.Snapshot) (err error) {
	s.AWSIAMRoles, err = list(ctx, listOf(c.AWSIAMRoles(namespace).List), metav1.ListOptions{}, always[*v1.AWSIAMRole])
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// always keeps every object.
func always[O any](O) bool { return true }
