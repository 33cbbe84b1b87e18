//go:build e2e && linux

package e2e

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/test/env"
)

// TestFileMode shows that a container that is not root cannot read files of mode 0400, and that the
// kubelet makes them its own if the pod has an fsGroup. It needs an image with sh and cat.
func TestFileMode(t *testing.T) {
	for name, c := range map[string]struct {
		group *int64
		want  string
	}{
		"no fsGroup": {nil, "cannot read"},
		"fsGroup":    {new(int64(65532)), roleARN("mode-fsgroup")},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEnv(t)
			p := e.getProgram(t)
			p.command = []string{"/bin/sh", "-c", "cat " + mountPath + "/role-arn || echo cannot read"}
			podName := "mode-none"
			if c.group != nil {
				podName = "mode-fsgroup"
			}
			pod := p.pod(podName, p.secret(podName), e.STS.URL)
			pod.Spec.SecurityContext.FSGroup = c.group
			i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volumeName })
			pod.Spec.Volumes[i].Secret.DefaultMode = new(int32(0o400))
			e.createPod(t, pod)
			var lines []string
			e.check(t, env.Await(e.ctx, "pod "+podName+" has tried to read", func() (done bool, err error) {
				lines, err = e.cluster.Output(e.ctx, pod)
				return len(lines) > 0, err
			}))
			if lines[0] != c.want {
				t.Errorf("the pod prints %q, not %q", lines, c.want)
			}
		})
	}
}
