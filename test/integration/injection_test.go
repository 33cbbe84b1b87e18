package integration_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// withLabel adds a label to a pod.
func withLabel(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{key: value} }
}

// A pod that the policies of injection did not change, as they are not installed here, learns that
// it runs without its role.
func TestInjection_NotInjected(t *testing.T) {
	w := newTestEnv(t)
	w.serviceAccount("early", annotations{request.RoleAnnotation: "app"})
	w.patch(newServiceAccount(w.namespace, "early"), `{"metadata":{"labels":{"`+request.RoleAnnotatedLabel+`":"true"}}}`)
	w.pod("before-the-start", as("early"))
	w.start()
	w.event("Warning NotInjected before-the-start:", "ServiceAccount that is annotated with a role", "kubectl rollout restart")

	w.serviceAccount("late", nil)
	w.pod("asking", as("late"), withLabel(request.InjectLabel, "true"))
	w.event("Warning NotInjected asking:", request.InjectLabel)
	w.pod("excluded", as("late"), withLabel(request.InjectLabel, "false"))
	w.pod("created-before-the-annotation", as("late"))
	w.annotateAccount("late", map[string]any{request.RoleAnnotation: "app"})
	w.patch(newServiceAccount(w.namespace, "late"), `{"metadata":{"labels":{"`+request.RoleAnnotatedLabel+`":"true"}}}`)
	w.event("Warning NotInjected created-before-the-annotation:", "ServiceAccount that is annotated with a role")
	w.eventually("three pods count", func() bool { return w.metric("pods_not_injected") == 3 })

	w.patch(newServiceAccount(w.namespace, "late"), `{"metadata":{"labels":{"`+request.RoleAnnotatedLabel+`":null}}}`)
	w.eventually("two pods count", func() bool { return w.metric("pods_not_injected") == 2 })
	if s := w.secret("aws-iam.late"); s != nil {
		t.Error("a Secret that no pod mounts")
	}
}

// set sets environment variables of a pod's container, as pairs of a name and a value.
func set(pairs ...string) podOption {
	return func(p *corev1.Pod) {
		for pair := range slices.Chunk(pairs, 2) {
			p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: pair[0], Value: pair[1]})
		}
	}
}

// A pod in which something keeps the credentials from being used is served, and has an event that
// says what.
func TestInjection_Warnings(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("on-eks", role("app"), set("AWS_SHARED_CREDENTIALS_FILE", "/meta/aws-iam/credentials.process",
		"AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/other", "AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"))
	w.event("Warning CredentialsOverridden on-eks:", "Python, Go, Java", "skip-pod-identity-webhook")
	w.pod("not-readable", role("app"), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))}
		p.Spec.Volumes[0].Secret.DefaultMode = new(int32(0o400))
	})
	w.event("Warning FileNotReadable not-readable:", "mode is 0400", "fsGroup")
	w.pod("of-kiam", role("app"), func(p *corev1.Pod) { p.Annotations = map[string]string{"iam.amazonaws.com/session-name": "mine"} })
	w.event("Warning AnnotationIgnored of-kiam:", "session-name has no effect")
	windows := func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }
	w.pod("mounts-on-windows", role("app"), windows)
	w.event("Warning WindowsNotSupported mounts-on-windows:", "cat")
	w.pod("annotated-on-windows", windows, func(p *corev1.Pod) { p.Annotations = map[string]string{request.RoleAnnotation: "app"} })
	w.event("Warning WindowsNotSupported annotated-on-windows:", "the annotation "+request.RoleAnnotation)
	w.eventually("the Secret", func() bool { return w.secret("aws-iam-app") != nil })
	if n := w.metric("pods_not_injected"); n != 0 {
		t.Errorf("%v pods count as not injected", n)
	}
}
