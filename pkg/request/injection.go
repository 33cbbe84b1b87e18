package request

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// The labels of injection; see config/injection.
const (
	// InjectLabel on a pod asks with "true" for the Secret of its ServiceAccount. With "false" the
	// pod is left as it is.
	InjectLabel = "iam.amazonaws.com/inject"
	// RoleAnnotatedLabel is "true" on an annotated ServiceAccount whose pods get its Secret. A
	// policy of config/injection sets it, in the namespaces that opted in.
	RoleAnnotatedLabel = "iam.amazonaws.com/role-annotated"
)

// byServiceAccount is the value of InjectLabel of a pod that MarkInjected marked. Users cannot set
// it: the API server rejects a value with a space.
const byServiceAccount = "service account"

// MarkInjected marks a pod whose ServiceAccount has the RoleAnnotatedLabel: it should have the
// Secret of that, unless the pod itself says otherwise.
func MarkInjected(pod *corev1.Pod) {
	if _, says := pod.Labels[InjectLabel]; !says {
		pod.Labels = map[string]string{InjectLabel: byServiceAccount}
	}
}

// LacksInjection reports whether a pod should have the Secret of its ServiceAccount by injection,
// and has not. A pod that is annotated with a role is no such pod: the API server itself rejects it
// if it is not injected. Nor are the pods that are never injected.
func LacksInjection(pod *corev1.Pod) bool {
	switch pod.Labels[InjectLabel] {
	case "true", byServiceAccount:
	default:
		return false
	}
	return pod.Annotations[RoleAnnotation] == "" && !isMirror(pod) && !isWindows(pod) && !references(pod, ServiceAccountPrefix+ServiceAccountName(pod))
}

// isMirror reports whether a pod stands for a static pod of a kubelet, which can use no Secrets.
func isMirror(pod *corev1.Pod) bool { return pod.Annotations[corev1.MirrorPodAnnotationKey] != "" }

func isWindows(pod *corev1.Pod) bool {
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

// references reports whether a pod references a Secret in its volumes or environments.
func references(pod *corev1.Pod, secret string) bool {
	for name := range secrets(pod) {
		if name == secret {
			return true
		}
	}
	return false
}

// notInjected returns the Request that a pod should make and does not.
func notInjected(pod *corev1.Pod) *Request {
	account := ServiceAccountName(pod)
	r := &Request{Secret: shorten(ServiceAccountPrefix+account, maxSecretName), missing: true, byAccount: pod.Labels[InjectLabel] == byServiceAccount}
	asks := "has the label " + InjectLabel + ": \"true\""
	if r.byAccount {
		asks = "has a ServiceAccount that is annotated with a role"
	}
	r.invalid = fmt.Sprintf("the pod %s, and was created without Secret %s: the policies of config/injection were not in force, or did not know the "+
		"annotation yet. It runs without the role. Create it again, such as by kubectl rollout restart", asks, quoted(r.Secret))
	return r
}

// NotInjected reports whether the Request is one that a pod should make and does not, as it was not
// injected. Validate says so.
func (r Request) NotInjected() bool { return r.missing }

// NotInjectedByServiceAccount reports whether a Request is NotInjected because of what the pod's
// ServiceAccount asks for, which can change.
func (r Request) NotInjectedByServiceAccount() bool { return r.missing && r.byAccount }
