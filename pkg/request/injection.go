package request

import (
	"cmp"
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

// LacksInjection reports whether a pod asks for a Secret by injection and has none: that of its
// ServiceAccount or, on Windows, any. Another pod that is annotated with a role is no such pod: the
// API server itself rejects it if it is not injected. Nor is a mirror pod.
func LacksInjection(pod *corev1.Pod) bool {
	annotated := pod.Annotations[RoleAnnotation] != ""
	asks := pod.Labels[InjectLabel] == "true" || pod.Labels[InjectLabel] == byServiceAccount
	switch {
	case isMirror(pod):
		return false
	case isWindows(pod):
		return (asks || annotated && pod.Labels[InjectLabel] != "false") && !references(pod, isRequest)
	default:
		own := ServiceAccountPrefix + ServiceAccountName(pod)
		return asks && !annotated && !references(pod, func(secret string) bool { return secret == own })
	}
}

// isMirror reports whether a pod stands for a static pod of a kubelet, which can use no Secrets.
func isMirror(pod *corev1.Pod) bool { return pod.Annotations[corev1.MirrorPodAnnotationKey] != "" }

func isWindows(pod *corev1.Pod) bool {
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

// references reports whether a pod references, in its volumes or environments, a Secret with a name
// that matches.
func references(pod *corev1.Pod, matches func(secret string) bool) bool {
	for name := range secrets(pod) {
		if matches(name) {
			return true
		}
	}
	return false
}

// missing returns, for a pod that LacksInjection, the Request for the Secret of its ServiceAccount
// that says so, and otherwise nil.
func missing(pod *corev1.Pod) *Request {
	if !LacksInjection(pod) {
		return nil
	}
	r := &Request{Secret: shorten(ServiceAccountPrefix+ServiceAccountName(pod), maxSecretName), byAccount: pod.Labels[InjectLabel] == byServiceAccount}
	asks := "has the label " + InjectLabel + ": \"true\""
	switch {
	case pod.Annotations[RoleAnnotation] != "":
		asks = "has the annotation " + RoleAnnotation
	case r.byAccount:
		asks = "has a ServiceAccount that is annotated with a role"
	}
	if isWindows(pod) {
		r.rejection, r.invalid = WindowsNotSupported, fmt.Sprintf("the pod %s and runs on Windows, where it gets no role: %s", asks, windowsAdvice)
		return r
	}
	r.rejection, r.invalid = NotInjected, fmt.Sprintf("the pod %s, and was created without Secret %s: the policies of config/injection were not in force, "+
		"or did not know the annotation yet. It does not use the Secret. Create it again, such as by kubectl rollout restart", asks, quoted(r.Secret))
	if r.byAccount {
		r.invalid += fmt.Sprintf("; or, if the namespace no longer asks for injection: kubectl label serviceaccount --namespace %s %s %s-",
			pod.Namespace, shorten(ServiceAccountName(pod), maxQuoted), RoleAnnotatedLabel)
	}
	return r
}

// windowsAdvice is what to do about a pod on Windows.
const windowsAdvice = "the files of the Secret need the program cat. Use another way there, such as IAM roles for service accounts, " +
	"and label the pod " + InjectLabel + ": \"false\""

// Rejection returns the reason of the event about a Request that Validate rejects.
func (r Request) Rejection() string { return cmp.Or(r.rejection, InvalidRole) }

// NotInjectedByServiceAccount reports whether a Request exists only because the pod's
// ServiceAccount asks for injection, which can change.
func (r Request) NotInjectedByServiceAccount() bool { return r.byAccount }
