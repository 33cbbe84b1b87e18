package podindex

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/test/env"
)

// squarePod has a projected volume that lists one Secret n times and is mounted at n paths.
func squarePod(n int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "square", UID: "1"}}
	source := &corev1.ProjectedVolumeSource{}
	c := corev1.Container{Name: "c"}
	for i := range n {
		source.Sources = append(source.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-x"}}})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: fmt.Sprint("/", i)})
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: source}}}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

// manyWarnings is a pod with as many Secrets as there can be, and as many warnings about each.
func manyWarnings() *corev1.Pod {
	var secrets []string
	for i := range 100 {
		secrets = append(secrets, fmt.Sprintf("aws-iam-%d-%s", i, strings.Repeat("x", 200)))
	}
	p := podMounting("warned", "2", secrets...)
	for i := range 50 {
		c := corev1.Container{Name: fmt.Sprintf("%s-%d", strings.Repeat("c", 60), i)}
		for _, s := range secrets {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: s, MountPath: "/" + strings.Repeat("p", 4000)})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

// The Index keeps little of any pod, and nothing of what the pod is made of.
func TestIndex_KeepsLittleOfAnyPod(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func() *corev1.Pod
	}{
		{"400 times one Secret, 400 mounts", func() *corev1.Pod { return squarePod(400) }},
		{"700 times one Secret, 700 mounts", func() *corev1.Pod { return squarePod(700) }},
		{"most Secrets and warnings", manyWarnings},
		{"a name of a megabyte", func() *corev1.Pod { return podMounting("long", "3", "aws-iam-"+strings.Repeat("x", 1<<20)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			index := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{})
			before := env.LiveHeap()
			index.Put(test.build())
			kept := int64(env.LiveHeap()) - int64(before) //nolint:gosec // a heap is smaller
			t.Logf("%d KiB are kept", kept>>10)
			if len(index.byName) != 1 || kept > 1<<20 {
				t.Errorf("%d bytes are kept", kept)
			}
			runtime.KeepAlive(index)
		})
	}
}
