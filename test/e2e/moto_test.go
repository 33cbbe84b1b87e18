//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/env"
)

const (
	// motoPrefix begins the names of the roles, and pods, of this test.
	motoPrefix = "moto-"
	// motoCalls is how many calls of each SDK have to succeed, within motoTimeout.
	motoCalls   = 3
	motoTimeout = 2 * time.Minute
)

// TestMoto_AcceptsTheCallsOfEverySDK has an STS that is not this project's issue the credentials
// that the controller writes, verify the calls of SDKs with them, and say whose they are.
func TestMoto_AcceptsTheCallsOfEverySDK(t *testing.T) {
	e := startEnv(t)
	n := e.localNode(t, "moto listens at its address")
	if _, err := os.Stat(e.moto); err != nil {
		t.Skip("moto is not installed")
	}
	keys, err := startMoto(e.ctx, n, e.moto)
	e.check(t, err)
	own := e.moveController(t, "-k="+e.manifests+"-moto", keys)
	t.Cleanup(func() { e.moveController(t, "-k="+e.manifests, own) })

	pods := e.startMotoPods(t)
	err = env.AwaitWithin(e.ctx, motoTimeout, time.Second, "enough calls of every SDK", func() (bool, error) {
		for _, p := range pods {
			if err := e.readPod(p); err != nil {
				return false, err
			}
		}
		return !slices.ContainsFunc(pods, func(p *sdkPod) bool { return p.failure() == nil && len(p.identities) < motoCalls }), nil
	})
	if err != nil {
		t.Error(err)
	}
	e.reportMoto(t, pods)
}

// moveController gives the controller the keys of another STS and deploys it for that STS. It
// returns the file with the keys that it had.
func (e *testEnv) moveController(tb testing.TB, manifests, keys string) (old string) {
	tb.Helper()
	var secret corev1.Secret
	e.check(tb, e.client.Get(e.ctx, client.ObjectKey{Namespace: kubeSystem, Name: secretKeys}, &secret))
	old = string(secret.Data[credentialsKey])
	secret.Data[credentialsKey] = []byte(keys)
	e.check(tb, e.client.Update(e.ctx, &secret))
	e.check(tb, e.apply(manifests))
	e.check(tb, e.awaitController())
	return old
}

// callNoSTS are programs that call S3, where only this project's double says who the caller is.
var callNoSTS = sets.New("minio-go")

// startMotoPods starts a pod for each SDK that reads files and calls STS, which is deleted with the
// test.
func (e *testEnv) startMotoPods(tb testing.TB) (pods []*sdkPod) {
	tb.Helper()
	for i := range e.Programs {
		p := &sdkPod{program: e.Programs[i]}
		if p.endpoint || callNoSTS.Has(p.name) {
			continue
		}
		name := motoPrefix + p.name
		p.pod = p.program.pod(name, p.secret(name), motoURL)
		e.createPod(tb, p.pod)
		pods = append(pods, p)
	}
	return pods
}

// createPod creates a pod, which is deleted with the test.
func (e *testEnv) createPod(tb testing.TB, pod *corev1.Pod) {
	tb.Helper()
	e.check(tb, e.client.Create(e.ctx, pod))
	tb.Cleanup(func() {
		if err := client.IgnoreNotFound(e.client.Delete(e.ctx, pod, client.GracePeriodSeconds(0))); err != nil {
			tb.Error(err)
		}
	})
}

// readPod reads a pod and what its program has printed so far.
func (e *testEnv) readPod(p *sdkPod) error {
	if err := e.client.Get(e.ctx, client.ObjectKeyFromObject(p.pod), p.pod); err != nil {
		return err
	}
	lines, err := e.cluster.Output(e.ctx, p.pod)
	p.setOutput(lines)
	return err
}

// reportMoto adds a table of the pods' calls, and fails the test for what is wrong in it.
func (e *testEnv) reportMoto(tb testing.TB, pods []*sdkPod) {
	tb.Helper()
	report := table{name: "moto", header: []string{"SDK", "version", "calls", "failed", "identity, as moto says"}}
	for _, p := range pods {
		var last string
		if len(p.identities) > 0 {
			last = p.identities[len(p.identities)-1]
		}
		report.rows = append(report.rows, []string{
			p.title, p.version, strconv.Itoa(len(p.identities)), strconv.Itoa(len(p.failures)), "`" + last + "`",
		})
		err := p.failure()
		if err == nil && len(p.identities) < motoCalls {
			err = fmt.Errorf("%s has made %d calls, not %d", p.name, len(p.identities), motoCalls)
		}
		if err != nil {
			tb.Error(err)
		}
	}
	e.addTable(&report)
}
