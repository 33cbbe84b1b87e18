package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

func TestFindClockOffset(t *testing.T) {
	for log, want := range map[string]time.Duration{
		`{"msg":"the machine's clock is wrong, and STS's is used instead","ahead":"7m0s"}`:   7 * time.Minute,
		`{"msg":"the machine's clock is wrong, and STS's is used instead","ahead":"-6m59s"}`: -(7*time.Minute - time.Second),
	} {
		if got, err := findClockOffset(log); err != nil || got != want {
			t.Errorf("%v, %s, want %s", err, got, want)
		}
	}
	if _, err := findClockOffset(`{"msg":"AWS identity"}`); err == nil {
		t.Error("no error for a log without it")
	}
}

func TestComplete(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(*corev1.Secret)
		want   bool
	}{
		"undamaged":     {func(*corev1.Secret) {}, true},
		"no expiry":     {func(s *corev1.Secret) { s.Data[keys.Expire] = []byte("never") }, false},
		"no file":       {func(s *corev1.Secret) { delete(s.Data, keys.ContainerJSON) }, false},
		"no annotation": {func(s *corev1.Secret) { s.Annotations[secret.RoleARNAnnotation] = "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{secret.RoleARNAnnotation: roleARN("sdk-any")}},
				Data:       map[string][]byte{keys.Expire: []byte("2026-11-21T12:00:00Z"), keys.ContainerJSON: []byte("{}")},
			}
			c.damage(s)
			if got := complete(s, "sdk-any"); got != c.want {
				t.Errorf("complete is %t", got)
			}
		})
	}
}
