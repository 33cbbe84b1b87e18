package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/hack/sandbox"
)

// cases are what is measured, and what it must reach on a machine of two cores that runs etcd and the API server, too.
var cases = []benchCase{
	{"idle, one new pod, 200 times", inWorld(unaudited, onePod)},
	{"1,000 pods on 500 Secrets in 1 s", inWorld(unaudited, manyPods)},
	{"4,000 Secrets in a burst", inWorld(audited, burstRestartAndRest)},
	{"4,000 Secrets, --sts-qps=2000", inWorld(unaudited, burstUnlimited)},
	{"50,000 pods that want nothing", inWorld(unaudited, ordinaryPods)},
	{"200,000 pods that want nothing", inWorld(unaudited, simulatedPods)},
	{"4,000 refreshes in a quarter of a session", inWorld(unaudited, refreshes)},
	{"100 pods a second come and go", inWorld(audited, churn)},
	{"the leader goes", inWorld(unaudited, failover)},
	{"a namespace's 4,000 Secrets are deleted", inWorld(unaudited, deleteCollection)},
	{"a namespace changes 10,000 AWSIAMRoles", inWorld(unaudited, rolesFlood)},
	{"a namespace changes RoleBindings for a minute", inWorld(audited, bindingStorm)},
}

// onePod is how long a pod waits whose controller has nothing else to do.
func onePod(ctx context.Context, w *world) ([]figure, error) {
	_, names, err := w.serving(ctx, 1)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range 200 {
		waits, err := w.wait(ctx, []*corev1.Pod{wanting(names[0], fmt.Sprintf("pod-%d", i), fmt.Sprintf("role-%d", i))}, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, waits...)
	}
	return []figure{
		milliseconds("pod created -> Secret written, p50", quantile(all, 0.5)).atMost(50).upstream("5.1 s"),
		milliseconds("p99", quantile(all, 0.99)).atMost(90).upstream("10 s"),
	}, nil
}

// manyPods is a deployment of many teams at once.
func manyPods(ctx context.Context, w *world) ([]figure, error) {
	_, names, err := w.serving(ctx, 10)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for i := range 1000 {
		pods = append(pods, wanting(names[i%10], fmt.Sprintf("pod-%d", i), fmt.Sprintf("role-%d", i/10%50)))
	}
	before := w.assumed()
	waits, err := w.wait(ctx, pods, 1000)
	if err != nil {
		return nil, err
	}
	return []figure{
		milliseconds("pod created -> Secret written, p50", quantile(waits, 0.5)),
		milliseconds("p99", quantile(waits, 0.99)).atMost(600).upstream("6.4 s"),
		number("STS calls", float64(w.assumed()-before)).atMost(500),
	}, nil
}

const (
	manySecrets = 4000
	manyTeams   = 20
)

// burstOf creates as many pods as fast as it can, each of which wants a Secret of its own, and returns how long it took until all pods were
// created, and all Secrets written.
func (w *world) burstOf(ctx context.Context, secrets int, namespaces []string) (created, written time.Duration, err error) {
	pods := make([]*corev1.Pod, secrets)
	for i := range pods {
		pods[i] = wanting(namespaces[i%len(namespaces)], fmt.Sprintf("burst-%d", i), fmt.Sprintf("burst-%d", i))
	}
	began := time.Now()
	wanted, err := w.create(ctx, pods, unlimited)
	if err != nil {
		return 0, 0, err
	}
	created = time.Since(began)
	_, err = w.secrets.waits(ctx, wanted)
	return created, time.Since(began), err
}

func burstUnlimited(ctx context.Context, w *world) ([]figure, error) {
	_, names, err := w.serving(ctx, manyTeams, "--sts-qps=2000")
	if err != nil {
		return nil, err
	}
	created, written, err := w.burstOf(ctx, manySecrets, names)
	return []figure{
		seconds("first pod created -> all written", written).atMost(6).upstream("43 s"),
		seconds("first pod created -> last pod created", created),
	}, err
}

// burstRestartAndRest is a burst with the default flags, then a restart, then a minute in which nothing happens.
func burstRestartAndRest(ctx context.Context, w *world) ([]figure, error) {
	p, names, err := w.serving(ctx, manyTeams)
	if err != nil {
		return nil, err
	}
	_, written, err := w.burstOf(ctx, manySecrets, names)
	if err != nil {
		return nil, err
	}
	figures := []figure{seconds("first pod created -> all written", written).atMost(15).upstream("43 s")}
	if err := w.end(p); err != nil {
		return nil, err
	}

	before := w.assumed()
	if _, err := w.audit.since(); err != nil {
		return nil, err
	}
	p, toReady, err := w.start(ctx)
	if err != nil {
		return nil, err
	}
	reviewed, err := w.quiet(ctx)
	if err != nil {
		return nil, err
	}
	figures = append(figures,
		number("restart: STS calls", float64(w.assumed()-before)).atMost(0),
		number("restart: API writes", float64(reviewed.writes(leases))).atMost(0),
		number("restart: SubjectAccessReviews", float64(reviewed[reviews])),
		seconds("restart: to ready", toReady).atMost(5))
	resting, err := w.rest(ctx, p)
	return append(figures, resting...), err
}

// quiet waits until the controller asks nothing but for its Lease any more, and returns what it asked until then.
func (w *world) quiet(ctx context.Context) (calls, error) {
	all := calls{}
	for silent := 0; silent < 3; {
		if err := sandbox.Pause(ctx, time.Second); err != nil {
			return nil, err
		}
		now, err := w.audit.since()
		if err != nil {
			return nil, err
		}
		silent++
		for name, count := range now {
			all[name] += count
		}
		if now.total(leases) > 0 {
			silent = 0
		}
	}
	return all, nil
}

// rest is what a controller does for a minute that has nothing to do.
func (w *world) rest(ctx context.Context, p *process) ([]figure, error) {
	const minute = time.Minute
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	if err := sandbox.Pause(ctx, minute); err != nil {
		return nil, err
	}
	asked, err := w.audit.since()
	if err != nil {
		return nil, err
	}
	after, err := p.cpu()
	return []figure{
		number("at rest: API calls a minute", float64(asked.total())).atMost(60),
		number("at rest: of them not for the Lease", float64(asked.total(leases))),
		figure{Name: "at rest: CPU", Value: round(100 * (after - before).Seconds() / minute.Seconds()), Unit: "% of a core"}.atMost(1),
	}, err
}

// refreshes is how evenly refreshes come that were all issued at once, with sessions of four minutes in place of an hour.
func refreshes(ctx context.Context, w *world) ([]figure, error) {
	const session, windows = 4 * time.Minute, 30
	w.STS.SetSessionLifetime(session)
	_, names, err := w.serving(ctx, manyTeams, "--sts-qps=2000", "--refresh-limit=2m")
	if err != nil {
		return nil, err
	}
	if _, _, err := w.burstOf(ctx, manySecrets, names); err != nil {
		return nil, err
	}
	var all, peak int
	for range windows {
		before := w.assumed()
		if err := sandbox.Pause(ctx, session/4/windows); err != nil {
			return nil, err
		}
		n := w.assumed() - before
		all, peak = all+n, max(peak, n)
	}
	return []figure{
		number("peak over mean rate of STS calls", round(float64(peak)*windows/float64(max(all, 1)))).atMost(3),
		number("STS calls", float64(all)),
	}, nil
}

// churn is two minutes in which pods come and go that share fifty Secrets, and now and then one that wants a new one.
func churn(ctx context.Context, w *world) ([]figure, error) {
	const (
		lasts, perSecond, secrets = 2 * time.Minute, 100, 50
		lives                     = 5 * perSecond // pods that are there at the same time
	)
	_, names, err := w.serving(ctx, 1)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, 0, perSecond*int(lasts.Seconds()))
	for i := range cap(pods) {
		pods = append(pods, wanting(names[0], fmt.Sprintf("churn-%d", i), fmt.Sprintf("shared-%d", i%secrets)))
	}
	if _, err := w.wait(ctx, pods[:secrets], perSecond); err != nil {
		return nil, err
	}
	if _, err := w.quiet(ctx); err != nil {
		return nil, err
	}
	var all []time.Duration
	for from := secrets; from+perSecond <= len(pods); from += perSecond {
		batch := append([]*corev1.Pod{wanting(names[0], fmt.Sprintf("new-%d", from), fmt.Sprintf("new-%d", from))}, pods[from:from+perSecond]...)
		waits, err := w.wait(ctx, batch, perSecond+1)
		if err != nil {
			return nil, err
		}
		all = append(all, waits...)
		if err := w.remove(ctx, pods[max(0, from-lives):max(0, from-lives+perSecond)]); err != nil {
			return nil, err
		}
	}
	asked, err := w.audit.since()
	var fresh []time.Duration
	for _, wait := range all {
		if wait > 0 { // the Secret was not there before its pod
			fresh = append(fresh, wait)
		}
	}
	return []figure{
		number("API writes beside new Secrets and their event", float64(max(0, asked.writes(leases, " secrets")-len(fresh)))).atMost(0),
		milliseconds("p50 of new Secrets", quantile(fresh, 0.5)),
		milliseconds("p99 of new Secrets", quantile(fresh, 0.99)).atMost(200),
		number("SubjectAccessReviews", float64(asked[reviews])),
	}, err
}

// remove deletes pods at once.
func (w *world) remove(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		if err := w.direct.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			return err
		}
	}
	return nil
}

// failover is how long new pods wait whose leader is killed, or is told to end.
func failover(ctx context.Context, w *world) ([]figure, error) {
	leader, names, err := w.serving(ctx, manyTeams, "--sts-qps=2000")
	if err != nil {
		return nil, err
	}
	if _, _, err := w.burstOf(ctx, manySecrets, names); err != nil {
		return nil, err
	}
	var figures []figure
	for _, way := range []struct {
		name   string
		signal syscall.Signal
		most   float64
	}{
		{"killed: until the other serves", syscall.SIGKILL, 20},
		{"SIGTERM: until the other serves", syscall.SIGTERM, 3},
	} {
		other, _, err := w.start(ctx)
		if err != nil {
			return nil, err
		}
		if err := sandbox.Pause(ctx, settle); err != nil { // as long as a standby usually has
			return nil, err
		}
		if err := leader.Signal(way.signal); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := w.wait(ctx, []*corev1.Pod{wanting(names[0], "after-"+way.signal.String(), fmt.Sprintf("after-%d", way.signal))}, 1); err != nil {
			return nil, err
		}
		figures = append(figures, seconds(way.name, time.Since(began)).atMost(way.most))
		w.forget(leader)
		leader = other
	}
	return figures, nil
}

// assumed is how many calls of AssumeRole there were.
func (w *world) assumed() (n int) {
	for outcome, count := range w.STS.Counts() {
		if outcome.Operation == "AssumeRole" {
			n += count
		}
	}
	return n
}

// wait creates pods and returns how long each Secret that they want took from the first such pod's creation; 0 if it was there before.
func (w *world) wait(ctx context.Context, pods []*corev1.Pod, perSecond float64) ([]time.Duration, error) {
	wanted, err := w.create(ctx, pods, perSecond)
	if err != nil {
		return nil, err
	}
	return w.secrets.waits(ctx, wanted)
}

// unlimited is a rate that is never reached.
const unlimited = 1e9
