package integration_test

import (
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
