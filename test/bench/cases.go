package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/test/env"
)

// cases lists what is measured. The bounds hold on a machine of two cores that also runs etcd and
// the API server.
var cases = []benchCase{
	{"idle, one new pod, 200 times", inCluster(unaudited, onePod)},
	{"idle, one new pod of a ServiceAccount", inCluster(unaudited, onePodOfAccount)},
	{"idle, one new pod by web identity", inCluster(unaudited, onePodByWebIdentity)},
	{"1,000 pods on 500 Secrets in 1 s", inCluster(unaudited, manyPods)},
	{"4,000 Secrets in a burst", inCluster(audited, burstRestartAndRest)},
	{"4,000 Secrets, --sts-qps=2000", inCluster(unaudited, burstUnlimited)},
	{"50,000 pods that request nothing", inCluster(unaudited, ordinaryPods)},
	{"200,000 pods that request nothing", inCluster(unaudited, simulatedPods)},
	{"50,000 ServiceAccounts without a role", inCluster(audited, manyAccounts)},
	{"4,000 refreshes in a quarter of a session", inCluster(unaudited, refreshes)},
	{"100 pods a second come and go", inCluster(audited, churn)},
	{"the leader goes", inCluster(unaudited, failover)},
	{"a namespace's 4,000 Secrets are deleted", inCluster(unaudited, deleteCollection)},
	{"a namespace changes 10,000 AWSIAMRoles", inCluster(unaudited, rolesFlood)},
	{"a namespace changes RoleBindings for a minute", inCluster(audited, bindingStorm)},
	{"what injection adds to a pod's creation", inCluster(unaudited, injectionCost)},
	{"a ServiceAccount and its pod in one apply", inCluster(unaudited, injectionRace)},
}

// onePod measures how long one new pod waits while the controller is idle.
func onePod(ctx context.Context, c *cluster) ([]figure, error) {
	_, names, err := c.serving(ctx, 1)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range 200 {
		waits, err := c.wait(ctx, []*corev1.Pod{podWithRoles(names[0], fmt.Sprintf("pod-%d", i), fmt.Sprintf("role-%d", i))}, 1)
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

// manyPods measures a deployment of many teams at once.
func manyPods(ctx context.Context, c *cluster) ([]figure, error) {
	_, names, err := c.serving(ctx, 10)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for i := range 1000 {
		pods = append(pods, podWithRoles(names[i%10], fmt.Sprintf("pod-%d", i), fmt.Sprintf("role-%d", i/10%50)))
	}
	before := c.assumed()
	waits, err := c.wait(ctx, pods, 1000)
	if err != nil {
		return nil, err
	}
	return []figure{
		milliseconds("pod created -> Secret written, p50", quantile(waits, 0.5)),
		milliseconds("p99", quantile(waits, 0.99)).atMost(600).upstream("6.4 s"),
		number("STS calls", float64(c.assumed()-before)).atMost(500),
	}, nil
}

const (
	manySecrets = 4000
	manyTeams   = 20
)

// burstOf creates as many pods as fast as it can, each of which requests a Secret of its own, and
// returns how long it took until all pods were created, and all Secrets written.
func (c *cluster) burstOf(ctx context.Context, secrets int, namespaces []string) (created, written time.Duration, err error) {
	pods := make([]*corev1.Pod, secrets)
	for i := range pods {
		pods[i] = podWithRoles(namespaces[i%len(namespaces)], fmt.Sprintf("burst-%d", i), fmt.Sprintf("burst-%d", i))
	}
	began := time.Now()
	wanted, err := c.create(ctx, pods, unlimited)
	if err != nil {
		return 0, 0, err
	}
	created = time.Since(began)
	_, err = c.secrets.waits(ctx, wanted)
	return created, time.Since(began), err
}

func burstUnlimited(ctx context.Context, c *cluster) ([]figure, error) {
	_, names, err := c.serving(ctx, manyTeams, "--sts-qps=2000")
	if err != nil {
		return nil, err
	}
	created, written, err := c.burstOf(ctx, manySecrets, names)
	return []figure{
		seconds("first pod created -> all written", written).atMost(6).upstream("43 s"),
		seconds("first pod created -> last pod created", created),
	}, err
}

// burstRestartAndRest measures a burst with the default flags, then a restart, then an idle minute.
func burstRestartAndRest(ctx context.Context, c *cluster) ([]figure, error) {
	p, names, err := c.serving(ctx, manyTeams)
	if err != nil {
		return nil, err
	}
	_, written, err := c.burstOf(ctx, manySecrets, names)
	if err != nil {
		return nil, err
	}
	figures := []figure{seconds("first pod created -> all written", written).atMost(15).upstream("43 s")}
	if err := c.end(p); err != nil {
		return nil, err
	}

	before := c.assumed()
	if _, err := c.audit.since(); err != nil {
		return nil, err
	}
	p, toReady, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	reviewed, err := c.quiet(ctx)
	if err != nil {
		return nil, err
	}
	figures = append(figures,
		number("restart: STS calls", float64(c.assumed()-before)).atMost(0),
		number("restart: API writes", float64(reviewed.writes(leases))).atMost(0),
		number("restart: SubjectAccessReviews", float64(reviewed[reviews])),
		seconds("restart: to ready", toReady).atMost(5))
	resting, err := c.rest(ctx, p)
	return append(figures, resting...), err
}

// quiet waits until the controller calls the API server for nothing but its Lease, and returns its
// calls until then.
func (c *cluster) quiet(ctx context.Context) (calls, error) {
	all := calls{}
	for silent := 0; silent < 3; {
		if err := env.Pause(ctx, time.Second); err != nil {
			return nil, err
		}
		now, err := c.audit.since()
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

// rest measures what an idle controller does in a minute.
func (c *cluster) rest(ctx context.Context, p *process) ([]figure, error) {
	const minute = time.Minute
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	if err := env.Pause(ctx, minute); err != nil {
		return nil, err
	}
	asked, err := c.audit.since()
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

// refreshes measures how evenly the refreshes of Secrets that were all issued at once are spread,
// with sessions of four minutes instead of an hour.
func refreshes(ctx context.Context, c *cluster) ([]figure, error) {
	const session, windows = 4 * time.Minute, 30
	c.STS.SetSessionLifetime(session)
	_, names, err := c.serving(ctx, manyTeams, "--sts-qps=2000", "--refresh-limit=2m")
	if err != nil {
		return nil, err
	}
	if _, _, err := c.burstOf(ctx, manySecrets, names); err != nil {
		return nil, err
	}
	var all, peak int
	for range windows {
		before := c.assumed()
		if err := env.Pause(ctx, session/4/windows); err != nil {
			return nil, err
		}
		n := c.assumed() - before
		all, peak = all+n, max(peak, n)
	}
	return []figure{
		number("peak over mean rate of STS calls", round(float64(peak)*windows/float64(max(all, 1)))).atMost(3),
		number("STS calls", float64(all)),
	}, nil
}

// churn measures two minutes in which pods that share fifty Secrets are created and deleted, and
// now and then one that asks for a new Secret.
func churn(ctx context.Context, c *cluster) ([]figure, error) {
	const (
		lasts, perSecond, secrets = 2 * time.Minute, 100, 50
		lives                     = 5 * perSecond // pods that are there at the same time
	)
	_, names, err := c.serving(ctx, 1)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, 0, perSecond*int(lasts.Seconds()))
	for i := range cap(pods) {
		pods = append(pods, podWithRoles(names[0], fmt.Sprintf("churn-%d", i), fmt.Sprintf("shared-%d", i%secrets)))
	}
	if _, err := c.wait(ctx, pods[:secrets], perSecond); err != nil {
		return nil, err
	}
	if _, err := c.quiet(ctx); err != nil {
		return nil, err
	}
	var all []time.Duration
	for from := secrets; from+perSecond <= len(pods); from += perSecond {
		batch := append([]*corev1.Pod{podWithRoles(names[0], fmt.Sprintf("new-%d", from), fmt.Sprintf("new-%d", from))}, pods[from:from+perSecond]...)
		waits, err := c.wait(ctx, batch, perSecond+1)
		if err != nil {
			return nil, err
		}
		all = append(all, waits...)
		if err := c.remove(ctx, pods[max(0, from-lives):max(0, from-lives+perSecond)]); err != nil {
			return nil, err
		}
	}
	asked, err := c.audit.since()
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
func (c *cluster) remove(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		if err := c.direct.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			return err
		}
	}
	return nil
}

// failover measures how long new pods wait when the leader is killed, and when it is terminated.
func failover(ctx context.Context, c *cluster) ([]figure, error) {
	leader, names, err := c.serving(ctx, manyTeams, "--sts-qps=2000")
	if err != nil {
		return nil, err
	}
	if _, _, err := c.burstOf(ctx, manySecrets, names); err != nil {
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
		other, _, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		if err := env.Pause(ctx, settle); err != nil { // the time that a standby usually has
			return nil, err
		}
		if err := leader.Signal(way.signal); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := c.wait(ctx, []*corev1.Pod{podWithRoles(names[0], "after-"+way.signal.String(), fmt.Sprintf("after-%d", way.signal))}, 1); err != nil {
			return nil, err
		}
		figures = append(figures, seconds(way.name, time.Since(began)).atMost(way.most))
		c.forget(leader)
		leader = other
	}
	return figures, nil
}

// assumed returns the number of calls of AssumeRole.
func (c *cluster) assumed() (n int) {
	for outcome, count := range c.STS.Counts() {
		if outcome.Operation == "AssumeRole" {
			n += count
		}
	}
	return n
}

// wait creates pods and returns for each of their Secrets the time from the first pod's creation
// until the Secret exists; 0 if it existed before.
func (c *cluster) wait(ctx context.Context, pods []*corev1.Pod, perSecond float64) ([]time.Duration, error) {
	wanted, err := c.create(ctx, pods, perSecond)
	if err != nil {
		return nil, err
	}
	return c.secrets.waits(ctx, wanted)
}

// unlimited is a rate that is never reached.
const unlimited = 1e9
