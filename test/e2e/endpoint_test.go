//go:build e2e && linux

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestEndpoint_RestartCostsNoCall kills the endpoint of every SDK, with sessions of an hour as most
// clusters have them: none asks while the kubelet starts it again. AWS CLI is not among them, as it
// asks at each call, and its retries last two or three seconds.
func TestEndpoint_RestartCostsNoCall(t *testing.T) {
	e := startEnv(t)
	e.localNode(t, "it kills processes")
	var pods []*sdkPod
	for i := range e.Programs {
		p := &sdkPod{program: e.Programs[i]}
		if !p.endpoint || p.name == "aws-cli"+endpointSuffix {
			continue
		}
		p.asks = byAnnotation
		name := "killed-" + p.name
		p.pod = p.program.pod(name, p.secret(name), e.STS.URL)
		e.createPod(t, p.pod)
		pods = append(pods, p)
	}
	e.awaitCalls(t, pods, 1)
	pids, err := node.ProcessIDs("credentials-endpoint")
	e.check(t, err)
	for _, pid := range pids {
		e.check(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	began := time.Now()
	e.check(t, env.Await(e.ctx, "the kubelet has started every endpoint again", func() (bool, error) {
		for _, p := range pods {
			if err := e.readPod(p); err != nil {
				return false, err
			}
		}
		return !slices.ContainsFunc(pods, func(p *sdkPod) bool {
			statuses := p.pod.Status.InitContainerStatuses
			return len(statuses) != 1 || statuses[0].RestartCount == 0 || statuses[0].State.Running == nil
		}), nil
	}))
	t.Logf("%d endpoints were killed, and all ran again after %.1f s", len(pids), time.Since(began).Seconds())
	e.awaitCalls(t, pods, 3)
}

// awaitCalls waits until every pod has made some more calls. One that fails ends the test.
func (e *testEnv) awaitCalls(tb testing.TB, pods []*sdkPod, more int) {
	tb.Helper()
	before := map[string]int{}
	for _, p := range pods {
		before[p.name] = len(p.identities)
	}
	e.check(tb, env.AwaitWithin(e.ctx, motoTimeout, time.Second, "more calls of every SDK", func() (bool, error) {
		done := true
		for _, p := range pods {
			if err := e.readPod(p); err != nil {
				return false, err
			}
			if err := p.failure(); err != nil {
				return false, err
			}
			done = done && len(p.identities) >= before[p.name]+more
		}
		return done, nil
	}))
}
