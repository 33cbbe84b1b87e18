//go:build e2e && linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
)

const (
	// measuredPods is how many pods of each kind are measured.
	measuredPods = 50
	// maxDelay is how much longer half of the pods can wait for the controller than for the kubelet
	// alone: half a second is when that tries a second time.
	maxDelay = time.Second
)

// TestPromise shows that a pod waits for its credentials, and how long: from its creation to its
// first call of STS. It runs on a kubelet with default settings.
func TestPromise(t *testing.T) {
	t.Run("a pod waits while STS refuses its role", testPodWaits)
	t.Run("a new Secret costs no time", testFirstCall)
}

// testFirstCall measures pods that come before their Secret. Each is followed by one whose Secret,
// with the same files, exists already: that is as fast as the kubelet can be.
func testFirstCall(t *testing.T) {
	e := startEnv(t)
	p := e.getProgram(t)
	var issued, prepared []time.Duration
	for i := range measuredPods {
		name := fmt.Sprintf("early-%d", i)
		issued = append(issued, e.measureFirstCall(t, p, name, secretPrefix+name))

		name = fmt.Sprintf("plain-%d", i)
		e.createPlainSecret(t, name)
		prepared = append(prepared, e.measureFirstCall(t, p, name, name))
	}
	e.addTable(&table{
		name:   "promise",
		header: []string{fmt.Sprintf("from the creation of a pod to its first call, %d pods each", measuredPods), "p50", "p90", "worst"},
		rows:   [][]string{spread("the Secret is there already", prepared), spread("the controller has to write it", issued)},
	})
	if delay := median(issued) - median(prepared); delay > maxDelay {
		t.Errorf("half of the pods waited %s longer for the controller than for the kubelet alone", delay)
	}
}

// getProgram returns one of the programs, that of the AWS SDK for Go v2 where it is there, for pods
// that mount a Secret.
func (e *testEnv) getProgram(tb testing.TB) *program {
	tb.Helper()
	i := slices.IndexFunc(e.Programs, func(p program) bool { return p.name == "go-v2" })
	if len(e.Programs) == 0 {
		tb.Fatal("there is no program that uses an SDK")
	}
	p := e.Programs[max(i, 0)]
	p.asks = byVolume
	return &p
}

// createPlainSecret creates a Secret that is not the controller's, with the files that the
// controller would write.
func (e *testEnv) createPlainSecret(tb testing.TB, name string) {
	tb.Helper()
	const lifetime = time.Hour
	keys, err := e.STS.AddSession(roleARN(name), name, lifetime)
	e.check(tb, err)
	arn, err := role.ParseARN(roleARN(name))
	e.check(tb, err)
	now := time.Now().UTC().Truncate(time.Second)
	rendered := secret.Render(secret.Target{
		Name:    types.NamespacedName{Namespace: namespace, Name: name},
		Session: credentials.Session{Role: arn, Name: name},
		Files:   secret.Files{MountPath: mountPath, Region: env.Region},
	}, credentials.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: credentials.Redact(keys.SecretAccessKey),
		SessionToken: credentials.Redact(keys.SessionToken),
		Issued:       now, Expires: now.Add(lifetime),
	}, nil)
	rendered.Labels = nil
	e.check(tb, e.client.Create(e.ctx, rendered))
}

// measureFirstCall creates a pod, waits for its first successful call, and deletes the pod.
func (e *testEnv) measureFirstCall(tb testing.TB, p *program, name, mounted string) time.Duration {
	tb.Helper()
	pod := p.pod(name, mounted, e.STS.URL)
	began := time.Now()
	e.check(tb, e.client.Create(e.ctx, pod))
	called := e.awaitCall(tb, name)
	e.check(tb, e.client.Delete(e.ctx, pod, client.GracePeriodSeconds(0)))
	return called.Sub(began)
}

// awaitCall waits for the first successful call by a role, and returns when STS got it.
func (e *testEnv) awaitCall(tb testing.TB, name string) (at time.Time) {
	tb.Helper()
	e.check(tb, env.Await(e.ctx, "a successful call by role "+name, func() (bool, error) {
		for _, call := range e.STS.Calls() {
			if call.CallerRoleARN == roleARN(name) && call.Code == "" {
				at = call.Time
				return true, nil
			}
		}
		return false, nil
	}))
	return at
}

// testPodWaits shows that a pod does not start while STS refuses its role, and starts when STS no
// longer does.
func testPodWaits(t *testing.T) {
	const name = "late"
	e := startEnv(t)
	e.STS.Deny(roleARN(name))
	pod := e.getProgram(t).pod(name, secretPrefix+name, e.STS.URL)
	e.createPod(t, pod)
	for _, reason := range []string{"FailedMount", "GetCredentialsFailed"} {
		e.awaitEvent(t, pod, reason)
	}
	e.check(t, env.Await(e.ctx, "the pod is in state ContainerCreating", func() (bool, error) {
		err := e.client.Get(e.ctx, client.ObjectKeyFromObject(pod), pod)
		statuses := pod.Status.ContainerStatuses // the kubelet sends them some time after its events
		return len(statuses) == 1 && statuses[0].State.Waiting != nil && statuses[0].State.Waiting.Reason == "ContainerCreating", err
	}))
	e.STS.Allow(roleARN(name))
	key := client.ObjectKey{Namespace: namespace, Name: secretPrefix + name}
	e.check(t, env.Await(e.ctx, "the Secret is written", func() (bool, error) {
		err := e.client.Get(e.ctx, key, &corev1.Secret{})
		return err == nil, client.IgnoreNotFound(err)
	}))
	written := time.Now()
	t.Logf("The pod made its first call %.1f s after its Secret was written", e.awaitCall(t, name).Sub(written).Seconds())
}

func (e *testEnv) awaitEvent(tb testing.TB, pod *corev1.Pod, reason string) {
	tb.Helper()
	e.check(tb, env.Await(e.ctx, "event "+reason+" on pod "+pod.Name, func() (bool, error) {
		var events corev1.EventList
		err := e.client.List(e.ctx, &events, client.InNamespace(pod.Namespace),
			client.MatchingFields{"involvedObject.name": pod.Name, "reason": reason})
		return len(events.Items) > 0, err
	}))
}
