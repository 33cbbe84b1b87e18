package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/authorization"
)

// CheckInstallation reads the state of the installation, but for the time.
func (c *Cluster) CheckInstallation(ctx context.Context, controller Controller) *diagnosis.InstallationSnapshot {
	s := &diagnosis.InstallationSnapshot{Installation: c.Installation(ctx, controller.Namespace, metav1.NamespaceAll)}
	s.Server = read(c.Kubernetes.Discovery().ServerVersion())
	s.HasCRD = c.hasCRD()
	s.Policies, s.Injection = c.validatingPolicies(ctx), c.mutatingPolicies(ctx)
	found, refused, err := c.Roles(ctx, metav1.NamespaceAll)
	switch {
	case err != nil:
		s.Usages.Err = err
	case !found.SecretsKnown:
		s.Usages.Err = refused[0]
	default:
		s.Usages.Value = usage.Of(found, c.Now())
	}
	if s.Deployment.Value != nil {
		c.checkPods(ctx, s)
		s.Denied = c.denied(ctx, s)
	}
	return s
}

// hasCRD reports whether the API server serves AWSIAMRoles. Every user may ask.
func (c *Cluster) hasCRD() diagnosis.Read[bool] {
	found, err := c.Kubernetes.Discovery().ServerResourcesForGroupVersion(v1.GroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return diagnosis.Read[bool]{}
	case err != nil:
		return diagnosis.Read[bool]{Err: err}
	}
	return diagnosis.Read[bool]{Value: slices.ContainsFunc(found.APIResources, func(r metav1.APIResource) bool { return r.Name == v1.Resource })}
}

func (c *Cluster) validatingPolicies(ctx context.Context) diagnosis.Read[[]diagnosis.Policy] {
	o := metav1.ListOptions{LabelSelector: settings.Selector}
	policies, err := c.Kubernetes.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(ctx, o)
	if err != nil {
		return diagnosis.Read[[]diagnosis.Policy]{Err: err}
	}
	bindings, err := c.Kubernetes.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return diagnosis.Read[[]diagnosis.Policy]{Err: err}
	}
	all := make([]diagnosis.Policy, len(policies.Items))
	for i := range policies.Items {
		p := &policies.Items[i]
		all[i] = diagnosis.Policy{Name: p.Name, Text: fmt.Sprint(p.Spec)}
		for j := range bindings.Items {
			if b := &bindings.Items[j].Spec; b.PolicyName == p.Name {
				all[i].Bound = true
				all[i].Denies = all[i].Denies || slices.Contains(b.ValidationActions, admissionv1.Deny)
			}
		}
	}
	return diagnosis.Read[[]diagnosis.Policy]{Value: all}
}

func (c *Cluster) mutatingPolicies(ctx context.Context) diagnosis.Read[[]diagnosis.Policy] {
	o := metav1.ListOptions{LabelSelector: settings.Selector}
	policies, err := c.Kubernetes.AdmissionregistrationV1().MutatingAdmissionPolicies().List(ctx, o)
	if err != nil {
		return diagnosis.Read[[]diagnosis.Policy]{Err: err}
	}
	bindings, err := c.Kubernetes.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return diagnosis.Read[[]diagnosis.Policy]{Err: err}
	}
	all := make([]diagnosis.Policy, len(policies.Items))
	for i := range policies.Items {
		name := policies.Items[i].Name
		all[i] = diagnosis.Policy{Name: name, Bound: slices.ContainsFunc(bindings.Items, func(b admissionv1.MutatingAdmissionPolicyBinding) bool { return b.Spec.PolicyName == name })}
	}
	return diagnosis.Read[[]diagnosis.Policy]{Value: all}
}

// checkPods reads the environment of the controller from one of its pods, as webhooks change it
// there, or from its Deployment; and the events on its pods.
func (c *Cluster) checkPods(ctx context.Context, s *diagnosis.InstallationSnapshot) {
	d := s.Deployment.Value
	template := &d.Spec.Template.Spec
	pods, err := c.Kubernetes.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: settings.Selector})
	if err != nil {
		s.Warnings.Err = err
	} else {
		for i := range pods.Items {
			template = &pods.Items[i].Spec
			events := c.events(ctx, &pods.Items[i], "Pod")
			s.Warnings.Value, s.Warnings.Err = append(s.Warnings.Value, events.Value...), events.Err
		}
	}
	s.HostNetwork = template.HostNetwork
	s.Environment.Value, s.Environment.Err = c.environment(ctx, d.Namespace, settings.Container(template))
}

// public are the AWS SDK's variables whose values are not confidential.
var public = []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ROLE_ARN", "AWS_EC2_METADATA_DISABLED"}

// environment returns the names of the AWS SDK's variables in a container, with the values of those
// that are public. unread is why some are not known. It reads no Secrets.
func (c *Cluster) environment(ctx context.Context, namespace string, container *corev1.Container) (all map[string]string, unread error) {
	all = map[string]string{}
	if container == nil {
		return all, nil
	}
	add := func(name, value string) {
		if !slices.Contains(public, name) {
			value = ""
		}
		if strings.HasPrefix(name, "AWS_") {
			all[name] = value
		}
	}
	for _, from := range container.EnvFrom {
		if from.ConfigMapRef == nil {
			continue
		}
		m, err := c.Kubernetes.CoreV1().ConfigMaps(namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
		if err != nil {
			unread = err
			continue
		}
		for name, value := range m.Data {
			add(from.Prefix+name, value)
		}
	}
	for _, v := range container.Env {
		add(v.Name, v.Value)
	}
	return all, unread
}

// denied returns the rights that the controller's ServiceAccount lacks.
func (c *Cluster) denied(ctx context.Context, s *diagnosis.InstallationSnapshot) (lacks diagnosis.Read[[]authorizationv1.ResourceAttributes]) {
	d := s.Deployment.Value
	subject := authorization.Subject{Namespace: d.Namespace, ServiceAccount: d.Spec.Template.Spec.ServiceAccountName}
	for _, a := range diagnosis.Rights(&s.Settings, d.Namespace) {
		answer, err := c.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: subject.User(), Groups: subject.Groups(), ResourceAttributes: &a},
		}, metav1.CreateOptions{})
		if err != nil {
			return diagnosis.Read[[]authorizationv1.ResourceAttributes]{Err: err}
		}
		if !answer.Status.Allowed {
			lacks.Value = append(lacks.Value, a)
		}
	}
	return lacks
}
