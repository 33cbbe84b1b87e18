//go:build e2e && linux

package e2e

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// cannotRead is what the pods of TestFileMode print if they cannot read the Secret.
const cannotRead = "cannot read"

// TestFileMode shows which files a container that is not root can read, and that an event warns of
// those that it cannot. It needs an image with sh and cat.
func TestFileMode(t *testing.T) {
	for _, c := range []struct {
		name    string // of the pod and its role
		mode    int32
		fsGroup *int64
		want    string
	}{
		{"mode-owner", 0o400, nil, cannotRead},
		{"mode-fsgroup", 0o400, new(int64(65532)), roleARN("mode-fsgroup")},
		{"mode-group", 0o440, nil, roleARN("mode-group")}, // without runAsGroup it is in root's group
	} {
		t.Run(c.name, func(t *testing.T) {
			e := startEnv(t)
			p := e.getProgram(t)
			p.command = []string{"/bin/sh", "-c", "cat " + mountPath + "/role-arn || echo " + cannotRead}
			pod := p.pod(c.name, p.secret(c.name), e.STS.URL)
			pod.Spec.SecurityContext.FSGroup = c.fsGroup
			i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volumeName })
			pod.Spec.Volumes[i].Secret.DefaultMode = &c.mode
			e.createPod(t, pod)
			var lines []string
			e.check(t, env.Await(e.ctx, "pod "+c.name+" has tried to read", func() (done bool, err error) {
				lines, err = e.cluster.Output(e.ctx, pod)
				return len(lines) > 0, err
			}))
			if lines[0] != c.want {
				t.Errorf("the pod prints %q, not %q", lines, c.want)
			}
			if c.want == cannotRead {
				e.awaitEvent(t, pod, request.FileNotReadable)
			}
		})
	}
}
