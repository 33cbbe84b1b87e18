package cluster

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
)

// Installation reads what is known of the controller that serves a namespace, or of any if it is
// "". It looks in all namespaces for it or, if at is not "", in one.
func (c *Cluster) Installation(ctx context.Context, at, serves string) diagnosis.Installation {
	i := diagnosis.Installation{Settings: settings.Default()}
	if i.Deployment = c.deployment(ctx, at, serves); i.Deployment.Value == nil {
		if at == "" {
			at = metav1.NamespaceSystem
		}
		i.Lease = read(c.Kubernetes.CoordinationV1().Leases(at).Get(ctx, i.Settings.LeaseName(), metav1.GetOptions{}))
		return i
	}
	i.Settings, i.SettingsErr = settings.Of(i.Deployment.Value)
	i.Lease = read(c.Kubernetes.CoordinationV1().Leases(i.Deployment.Value.Namespace).Get(ctx, i.Settings.LeaseName(), metav1.GetOptions{}))
	if seed := i.Settings.Seed; seed.Name != "" {
		i.Seed = read(c.metadataOf(Secrets, seed.Namespace).Get(ctx, seed.Name, metav1.GetOptions{}))
	}
	return i
}

// deployment finds the controller's Deployment: the one that serves a namespace, if there are
// several. Users who may not list Deployments everywhere can often list those of kube-system.
func (c *Cluster) deployment(ctx context.Context, at, serves string) diagnosis.Read[*appsv1.Deployment] {
	o := metav1.ListOptions{LabelSelector: settings.Selector}
	found, err := c.Kubernetes.AppsV1().Deployments(at).List(ctx, o)
	if apierrors.IsForbidden(err) && at == metav1.NamespaceAll {
		var inSystem error
		found, inSystem = c.Kubernetes.AppsV1().Deployments(metav1.NamespaceSystem).List(ctx, o)
		if inSystem == nil && len(found.Items) > 0 {
			err = nil
		}
	}
	if err != nil || len(found.Items) == 0 {
		return diagnosis.Read[*appsv1.Deployment]{Err: err}
	}
	for i := range found.Items {
		if s, err := settings.Of(&found.Items[i]); err == nil && s.Serves(serves) {
			return diagnosis.Read[*appsv1.Deployment]{Value: &found.Items[i]}
		}
	}
	return diagnosis.Read[*appsv1.Deployment]{Value: &found.Items[0]}
}

// read returns the result of a call. An object that comes with an error is none.
func read[T any](value T, err error) diagnosis.Read[T] {
	if err != nil {
		var none T
		return diagnosis.Read[T]{Value: none, Err: err}
	}
	return diagnosis.Read[T]{Value: value}
}
