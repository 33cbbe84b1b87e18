package request_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/request"
)

// asking returns a pod of ServiceAccount orders that asks for injection.
func asking(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "p", UID: "1", Labels: map[string]string{request.InjectLabel: "true"}},
		Spec:       corev1.PodSpec{ServiceAccountName: "orders", Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func mounting(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Volumes = podWithVolume(secret).Spec.Volumes }
}

func TestLacksInjection(t *testing.T) {
	label := func(value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Labels[request.InjectLabel] = value }
	}
	annotated := func(key string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{key: "x"} }
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want bool
	}{
		{"a label, and no Secret", asking(), true},
		{"the ServiceAccount default", asking(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "" }), true},
		{"injected", asking(mounting("aws-iam.orders")), false},
		{"projected", asking(func(p *corev1.Pod) {
			source := corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam.orders"}}}
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}}}}
		}), false},
		{"another Secret", asking(mounting("aws-iam-app")), true},
		{"the Secret of another ServiceAccount", asking(mounting("aws-iam.other")), true},
		{"no label", asking(func(p *corev1.Pod) { p.Labels = nil }), false},
		{"the label false", asking(label("false")), false},
		{"another label", asking(label("yes")), false},
		{"annotated with a role", asking(annotated(request.RoleAnnotation)), false},
		{"a mirror pod", asking(annotated(corev1.MirrorPodAnnotationKey)), false},
		{"Windows", asking(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), false},
		{"Windows by its node", asking(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }), false},
		{"Linux", asking(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := request.LacksInjection(c.pod); got != c.want {
				t.Fatalf("LacksInjection = %t", got)
			}
			wantNotInjected(t, c.pod, c.want)
			if request.HasRequests(c.pod) {
				request.ReducePod(c.pod)
				wantNotInjected(t, c.pod, c.want)
			}
		})
	}
}

// wantNotInjected requires that a pod has a Request that says that it was not injected, or none.
func wantNotInjected(t *testing.T, pod *corev1.Pod, want bool) {
	t.Helper()
	var found *request.Request
	for _, r := range request.FromPod(pod, "/meta/aws-iam") {
		if r.NotInjected() {
			found = &r
		}
	}
	switch {
	case (found != nil) != want:
		t.Errorf("the request is %+v", found)
	case want && (found.Secret != "aws-iam."+request.ServiceAccountName(pod) || found.ServiceAccount() == ""):
		t.Errorf("it is for Secret %s", found.Secret)
	case want && (found.Validate() == nil || !strings.Contains(found.Validate().Error(), "kubectl rollout restart")):
		t.Errorf("it says %v", found.Validate())
	}
}

// What the ServiceAccount asks for counts where the pod says nothing.
func TestMarkInjected(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "false": false, "yes": false} {
		p := asking(func(p *corev1.Pod) {
			if p.Labels = map[string]string{"app": "x"}; value != "" {
				p.Labels[request.InjectLabel] = value
			}
		})
		request.MarkInjected(p)
		requests := request.FromPod(p, "/meta/aws-iam")
		if got := len(requests) == 1; got != want {
			t.Errorf("label %q: %+v", value, requests)
			continue
		}
		if want && requests[0].NotInjectedByServiceAccount() != (value == "") {
			t.Errorf("label %q: %+v", value, requests)
		}
	}
}

// A name that is too long for a Secret gives a request, too, which no Secret answers.
func TestLacksInjection_LongName(t *testing.T) {
	p := asking(func(p *corev1.Pod) { p.Spec.ServiceAccountName = strings.Repeat("s", 253) })
	requests := request.FromPod(p, "/meta/aws-iam")
	if len(requests) != 1 || len(requests[0].Secret) > 253 {
		t.Errorf("the requests are %+v", requests)
	}
}
