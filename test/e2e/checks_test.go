package e2e

import (
	"strings"
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

func TestCheckInjected(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint bool
		change   func(*corev1.Pod)
		want     string
	}{
		"file":              {false, func(*corev1.Pod) {}, ""},
		"endpoint":          {true, func(*corev1.Pod) {}, ""},
		"no volume":         {false, func(p *corev1.Pod) { p.Spec.Volumes = nil }, "no volume of Secret aws-iam-app"},
		"another Secret":    {false, func(p *corev1.Pod) { p.Spec.Volumes[0].Secret.SecretName = "other" }, "no volume"},
		"no mount":          {false, func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts = nil }, "no mount"},
		"no variables":      {true, func(p *corev1.Pod) { p.Spec.Containers[0].Env = nil }, "the variables map[]"},
		"an init sidecar":   {false, func(p *corev1.Pod) { p.Spec.InitContainers = injectedSidecar() }, "a wrong sidecar"},
		"no sidecar":        {true, func(p *corev1.Pod) { p.Spec.InitContainers = nil }, "a wrong sidecar"},
		"no native sidecar": {true, func(p *corev1.Pod) { p.Spec.InitContainers[0].RestartPolicy = nil }, "a wrong sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program{endpoint: c.endpoint, env: defaultEnv, asks: byVolume}
			pod := p.pod("app", "aws-iam-app", "http://10.88.0.1")
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: stsVariable, Value: "http://10.88.0.1"}}
			for name, value := range p.injectedVariables() {
				pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: name, Value: value})
			}
			if c.endpoint {
				pod.Spec.InitContainers = injectedSidecar()
			}
			c.change(pod)
			err := p.checkInjected(pod, "aws-iam-app")
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func injectedSidecar() []corev1.Container {
	return []corev1.Container{{Name: sidecarName, RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
}
