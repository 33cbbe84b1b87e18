//go:build e2e && linux

package e2e

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/e2e/node"
	"kube-aws-iam-controller/test/env"
)

// TestEndpoint_OfAPodWhoseNetworkOthersJoin shows what docs/ci-agents.md says of a container that
// joins the network of a pod: it gets the pod's role with the token, and nothing without.
func TestEndpoint_OfAPodWhoseNetworkOthersJoin(t *testing.T) {
	const name = "joined"
	e := startEnv(t)
	n := e.localNode(t, "it starts containers there")
	i := slices.IndexFunc(e.Programs, func(p program) bool { return p.name == "go-v2"+endpointSuffix })
	if i < 0 {
		t.Fatal("there is no program of the AWS SDK for Go v2")
	}
	p := e.Programs[i]
	p.asks = byAnnotation
	pod := p.pod(name, p.secret(name), e.STS.URL)
	e.createPod(t, pod)
	e.awaitRunning(t, pod)
	var s corev1.Secret
	e.check(t, e.client.Get(e.ctx, client.ObjectKey{Namespace: namespace, Name: p.secret(name)}, &s))

	run := func(container string, more ...string) string {
		line, err := n.RunJoined(e.ctx, pod, &node.Joined{
			Name: container, Image: p.image, Command: p.command, Folders: map[string]string{p.folder: programPath},
			Env: append(more, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9912/", "AWS_REGION="+env.Region,
				"AWS_EC2_METADATA_DISABLED=true", stsVariable+"="+e.STS.URL),
		})
		e.check(t, err)
		return line
	}
	token := "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + string(s.Data[keys.EndpointToken])
	if line := run("with-token", token); line != "ok "+sessionARN(name, s.Name) {
		t.Errorf("with the token it prints: %s", line)
	}
	if line := run("without-token"); !strings.HasPrefix(line, "failed ") || !strings.Contains(line, "MissingToken") {
		t.Errorf("without the token it prints: %s", line)
	}
}

// awaitRunning waits until a pod's containers run.
func (e *testEnv) awaitRunning(tb testing.TB, pod *corev1.Pod) {
	tb.Helper()
	e.check(tb, env.Await(e.ctx, "pod "+pod.Name+" runs", func() (bool, error) {
		err := e.client.Get(e.ctx, client.ObjectKeyFromObject(pod), pod)
		return pod.Status.Phase == corev1.PodRunning, err
	}))
}
