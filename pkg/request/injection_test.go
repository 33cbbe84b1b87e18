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
	windows := func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }
	windowsNode := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want string // the reason of the event, if any
	}{
		{"a label, and no Secret", asking(), request.NotInjected},
		{"the ServiceAccount default", asking(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "" }), request.NotInjected},
		{"injected", asking(mounting("aws-iam.orders")), ""},
		{"projected", asking(func(p *corev1.Pod) {
			source := corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam.orders"}}}
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}}}}
		}), ""},
		{"another Secret", asking(mounting("aws-iam-app")), request.NotInjected},
		{"the Secret of another ServiceAccount", asking(mounting("aws-iam.other")), request.NotInjected},
		{"no label", asking(func(p *corev1.Pod) { p.Labels = nil }), ""},
		{"the label false", asking(label("false")), ""},
		{"another label", asking(label("yes")), ""},
		{"annotated with a role", asking(annotated(request.RoleAnnotation)), ""},
		{"a mirror pod", asking(annotated(corev1.MirrorPodAnnotationKey)), ""},
		{"Linux", asking(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }), request.NotInjected},
		{"Windows", asking(windows), request.WindowsNotSupported},
		{"Windows by its node", asking(windowsNode), request.WindowsNotSupported},
		{"Windows, annotated with a role", asking(windows, label(""), annotated(request.RoleAnnotation)), request.WindowsNotSupported},
		{"Windows, excluded", asking(windows, label("false"), annotated(request.RoleAnnotation)), ""},
		{"Windows, and asks for nothing", asking(windows, label("")), ""},
		{"Windows, with a Secret by hand", asking(windows, mounting("aws-iam-app")), ""},
		{"a mirror pod on Windows", asking(windowsNode, annotated(corev1.MirrorPodAnnotationKey)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := request.LacksInjection(c.pod); got != (c.want != "") {
				t.Fatalf("LacksInjection = %t", got)
			}
			wantRejection(t, c.pod, c.want)
			if request.HasRequests(c.pod) {
				request.ReducePod(c.pod)
				wantRejection(t, c.pod, c.want)
			}
		})
	}
}

// wantRejection requires that a pod has a Request that is rejected for a reason, or none.
func wantRejection(t *testing.T, pod *corev1.Pod, want string) {
	t.Helper()
	advice := map[string]string{request.NotInjected: "kubectl rollout restart", request.WindowsNotSupported: request.InjectLabel + ": \"false\""}
	for _, r := range request.FromPod(pod, "/meta/aws-iam") {
		switch {
		case r.Rejection() == request.InvalidRole:
			continue
		case r.Rejection() != want:
			t.Errorf("the reason is %s", r.Rejection())
		case r.Secret != "aws-iam."+request.ServiceAccountName(pod) || r.ServiceAccount() == "":
			t.Errorf("it is for Secret %s", r.Secret)
		case r.Validate() == nil || !strings.Contains(r.Validate().Error(), advice[want]):
			t.Errorf("it says %v", r.Validate())
		}
		want = ""
	}
	if want != "" {
		t.Errorf("no request is rejected for %s", want)
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
