//go:build e2e && linux

package e2e

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// awaitOutput waits until a pod has printed lines.
func (e *testEnv) awaitOutput(tb testing.TB, pod *corev1.Pod, n int) (lines []string) {
	tb.Helper()
	e.check(tb, env.Await(e.ctx, "pod "+pod.Name+" has printed", func() (done bool, err error) {
		lines, err = e.cluster.Output(e.ctx, pod)
		return len(lines) >= n, err
	}))
	return lines
}

// createAccount creates a ServiceAccount with the role of its own name.
func (e *testEnv) createAccount(tb testing.TB, name string, annotations map[string]string) *corev1.ServiceAccount {
	tb.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
		request.RoleAnnotation: name,
	}}}
	maps.Copy(account.Annotations, annotations)
	e.check(tb, e.client.Create(e.ctx, account))
	tb.Cleanup(func() {
		if err := e.client.Delete(e.ctx, account); err != nil {
			tb.Error(err)
		}
	})
	return account
}

// TestSecret_KeysOnRequest has a pod take a key that its Secret does not have, and gives the Secret
// that key: the pod starts, without being created again. It needs an image with sh.
func TestSecret_KeysOnRequest(t *testing.T) {
	e := startEnv(t)
	p := e.getProgram(t)
	p.command = []string{"/bin/sh", "-c", "echo ${#TOKEN}"}
	account := e.createAccount(t, "keys", nil)
	pod := p.pod("keys", accountPrefix+"keys", e.STS.URL)
	pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: accountPrefix + "keys"}, Key: "session-token"},
	}})
	e.createPod(t, pod)
	e.awaitEvent(t, pod, request.MissingKey)
	e.check(t, env.Await(e.ctx, "the kubelet finds no such key", func() (bool, error) {
		err := e.client.Get(e.ctx, client.ObjectKeyFromObject(pod), pod)
		status := pod.Status.ContainerStatuses
		return len(status) > 0 && status[0].State.Waiting != nil && status[0].State.Waiting.Reason == "CreateContainerConfigError", err
	}))
	e.check(t, e.client.Patch(e.ctx, account, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+request.KeysAnnotation+`":"true"}}}`))))
	if lines := e.awaitOutput(t, pod, 1); len(lines[0]) < 3 {
		t.Errorf("the token has %s bytes", lines[0])
	}
}

// TestSecret_TwoRolesInOneContainer runs the commands of two Secrets, as SDKs do. It needs an image
// with sh, sed and cat.
func TestSecret_TwoRolesInOneContainer(t *testing.T) {
	const second = "/meta/second"
	e := startEnv(t)
	p := e.getProgram(t)
	p.command = []string{"/bin/sh", "-c", `for dir in ` + mountPath + ` ` + second + `; do
		eval "$(sed -n 's/^credential_process = //p' $dir/credentials.process)" | sed 's/.*"AccessKeyId":"\([^"]*\)".*/\1/'; echo
	done`}
	e.createAccount(t, "second", map[string]string{request.MountPathAnnotation: second})
	pod := p.pod("two-roles", "aws-iam-first", e.STS.URL)
	pod.Spec.ServiceAccountName = "second"
	pod.Labels = map[string]string{request.InjectLabel: "false"} // which is for one Secret, in one place
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "second", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: accountPrefix + "second"},
	}})
	pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "second", MountPath: second})
	e.createPod(t, pod)
	lines := strings.Fields(strings.Join(e.awaitOutput(t, pod, 2), " "))
	if len(lines) != 2 {
		t.Fatalf("the pod prints %q", lines)
	}
	for i, role := range []string{"first", "second"} {
		if session, known := e.STS.IssuedTo(lines[i]); !known || session.RoleARN != roleARN(role) {
			t.Errorf("%s of %q has %s, not %s", lines[i], lines, session.RoleARN, roleARN(role))
		}
	}
}
