package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/env"
)

const (
	// manyRoles is how many AWSIAMRoles a namespace has that wants to have the controller to
	// itself.
	manyRoles = 10_000
	// floodWriters is how many of them are written at the same time. That is enough to keep the
	// API server busy.
	floodWriters = 8
	// roleSession is the session that they ask for, and shortSession what STS gives to all: each
	// Secret is then due half a minute to a minute after it was issued.
	roleSession, shortSession = 15 * time.Minute, 8 * time.Minute
	// duringCreation is how many of the loads are measured while the AWSIAMRoles are created; the
	// others while they are changed.
	duringCreation = 2
	// lateRefresh is how late a refresh can be.
	lateRefresh = 2 * time.Second
	// refreshLimit is the default of --refresh-limit.
	refreshLimit = 30 * time.Minute
)

// rolesFlood is how long new pods of a namespace wait, and how late refreshes are, while another
// namespace creates AWSIAMRoles and changes them without pause.
func rolesFlood(ctx context.Context, c *cluster) ([]figure, error) {
	const others, secretsOfEach = 10, 20
	c.STS.SetSessionLifetime(shortSession)
	_, names, err := c.serving(ctx, 2+others)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for i := range others * secretsOfEach {
		name := fmt.Sprintf("other-%d", i)
		pods = append(pods, podWithRoles(names[2+i%others], name, name))
	}
	if _, err := c.wait(ctx, pods, unlimited); err != nil {
		return nil, err
	}

	var f newcomerFigures
	flood := roleFlood{client: c.Cluster, namespace: names[1], changing: make(chan struct{})}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return flood.run(flooding) })
	group.Go(func() error {
		defer stop()
		for i := range loads {
			if i == duringCreation {
				if err := flood.awaitChanges(ctx); err != nil {
					return err
				}
			}
			if err := f.measure(ctx, c, names[0], fmt.Sprintf("flood-%d", i)); err != nil {
				return err
			}
		}
		return c.secrets.renewed(ctx, pods)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(f.figures(),
		seconds("refreshes of others: the latest after it was due", c.secrets.latest(pods)).atMost(lateRefresh.Seconds()),
		number("AWSIAMRoles changed a second", round(flood.rate())),
		number("STS calls", float64(c.assumed())),
	), nil
}

// roleFlood creates AWSIAMRoles and then changes them, as fast as the API server takes it.
type roleFlood struct {
	client    client.Client
	namespace string
	changing  chan struct{} // closed when all are created
	changes   atomic.Int64
	began     time.Time // of the changes
	lasted    time.Duration
}

// run creates all and changes one after the other until the context is done. Calls that have
// begun end by themselves.
func (f *roleFlood) run(ctx context.Context) error {
	calls := context.WithoutCancel(ctx)
	create := func(i int) error { return f.client.Create(calls, f.role(i)) }
	if err := inParallel(ctx, manyRoles, create); err != nil {
		return err
	}
	f.began = time.Now()
	close(f.changing)
	defer func() { f.lasted = time.Since(f.began) }()
	for round := 1; ctx.Err() == nil; round++ {
		patch := fmt.Appendf(nil, `{"spec":{"roleSessionDuration":%d}}`, int(roleSession.Seconds())+round)
		err := inParallel(ctx, manyRoles, func(i int) error {
			f.changes.Add(1)
			return f.client.Patch(calls, f.role(i), client.RawPatch(types.MergePatchType, patch))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *roleFlood) awaitChanges(ctx context.Context) error {
	select {
	case <-f.changing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inParallel calls a function for each number below n, some of them at the same time, until the
// context is done.
func inParallel(ctx context.Context, n int, do func(int) error) error {
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(floodWriters)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

func (f *roleFlood) role(i int) *v1.AWSIAMRole {
	name := fmt.Sprintf("flood-%d", i)
	return &v1.AWSIAMRole{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec:       v1.AWSIAMRoleSpec{RoleReference: name, RoleSessionDuration: int64(roleSession.Seconds())},
	}
}

func (f *roleFlood) rate() float64 {
	return float64(f.changes.Load()) / max(f.lasted.Seconds(), 1)
}

// renewalCount is what is known of the refreshes of a Secret.
type renewalCount struct {
	times int
	// latest is the longest time from when a refresh was due until it was seen.
	latest time.Duration
}

// noteRenewal notes when a Secret has new credentials, and how late that is.
func (a *arrivals) noteRenewal(before, after any) {
	was, _ := before.(*corev1.Secret)
	is, _ := after.(*corev1.Secret)
	if was == nil || is == nil || bytes.Equal(was.Data[keys.Expire], is.Data[keys.Expire]) {
		return
	}
	issued, expires, err := secret.ReadLifetime(was)
	if err != nil {
		return
	}
	name, life := client.ObjectKeyFromObject(is), renewal.Lifetime{Issued: issued, Expires: expires}
	late := time.Since(life.Due(refreshLimit, renewal.Jitter(name.String(), life)))
	a.lock.Lock()
	defer a.lock.Unlock()
	r := a.renewals[name]
	a.renewals[name] = renewalCount{r.times + 1, max(r.latest, late)}
}

// renewed waits until each Secret that pods request was renewed.
func (a *arrivals) renewed(ctx context.Context, pods []*corev1.Pod) error {
	return env.Await(ctx, "all Secrets of others are renewed", func() (bool, error) {
		a.lock.Lock()
		defer a.lock.Unlock()
		return !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return a.renewals[secretsOf(pod)[0]].times == 0 }), nil
	})
}

// latest is how late the latest refresh was of the Secrets that pods request.
func (a *arrivals) latest(pods []*corev1.Pod) (latest time.Duration) {
	a.lock.Lock()
	defer a.lock.Unlock()
	for _, pod := range pods {
		latest = max(latest, a.renewals[secretsOf(pod)[0]].latest)
	}
	return latest
}
