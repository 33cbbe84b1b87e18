//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/e2e/node"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

// getTimeout bounds one call of the API server, which can be away.
const getTimeout = 500 * time.Millisecond

// fleet is a pod for each SDK, and what was seen of them. It starts with the first fault.
type fleet struct {
	*testEnv
	// node is the local one, nil before a fault has needed it.
	node    *node.Node
	began   time.Time
	callers []*caller
	read    int // calls of STS that were taken in
	rows    []faultRow
}

// secretKey returns the name of the caller's Secret.
func (c *caller) secretKey() client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: c.secret(c.role())}
}

// halfSession is for how long the controller can be without what it needs, without harm to a pod.
func (f *fleet) halfSession() time.Duration { return f.Session / 2 }

// twoRenewals is long enough for most Secrets to be renewed twice.
func (f *fleet) twoRenewals() time.Duration { return f.Session / 3 }

// start starts the pods, once. On the local node, the kubelet is sped up, so that it takes no
// larger a part of a session than where sessions last an hour.
func (f *fleet) start(tb testing.TB) {
	tb.Helper()
	if len(f.callers) > 0 {
		return
	}
	if local, ok := f.cluster.(*localCluster); ok {
		f.check(tb, local.node.SpeedUpKubelet(f.ctx))
	}
	f.STS.SetSessionLifetime(f.Session)
	f.began = time.Now()
	_, f.read = f.STS.CallsAfter(0)
	for i := range f.Programs {
		c := newCaller(&f.Programs[i], f.Session)
		c.pod = c.program.pod(c.role(), c.secretKey().Name, f.STS.URL)
		f.trustAccount(c)
		f.check(tb, f.client.Create(f.ctx, c.pod))
		if c.asks.injected() {
			f.check(tb, c.checkInjected(c.pod, c.secretKey().Name))
		}
		f.callers = append(f.callers, c)
	}
	f.await(tb, "every SDK has called", func() (bool, error) {
		return !slices.ContainsFunc(f.callers, func(c *caller) bool { return len(c.identities) == 0 }), nil
	})
}

// trustAccount has the role of a caller trust the web identity of its ServiceAccount, and no other
// caller, if its pod uses the Secret of that ServiceAccount.
func (f *fleet) trustAccount(c *caller) {
	if account := c.pod.Spec.ServiceAccountName; account != "" {
		subject := "system:serviceaccount:" + namespace + ":" + account
		f.STS.Trust(roleARN(c.role()), func(call ststest.Call) bool { return call.Subject == subject })
	}
}

// stop undoes start. The logs of the pods are kept.
func (f *fleet) stop() error {
	f.STS.SetSessionLifetime(0)
	err := f.cluster.CopyLogs(f.ctx, filepath.Join(f.logs, "pods"))
	for _, c := range f.callers {
		err = errors.Join(err, f.client.Delete(f.ctx, c.pod, client.GracePeriodSeconds(0)))
	}
	if local, ok := f.cluster.(*localCluster); ok {
		err = errors.Join(err, local.node.ResetKubelet(f.ctx))
	}
	return err
}

// beginRow ends the row of the fault before, and begins another.
func (f *fleet) beginRow(name string) {
	f.endRow()
	f.rows = append(f.rows, faultRow{name: name, began: time.Now()})
	for _, c := range f.callers {
		c.beginRow()
	}
}

func (f *fleet) endRow() {
	if len(f.rows) > 0 {
		f.rows[len(f.rows)-1].end(f.callers)
	}
}

// awaitFresh waits until every Secret has a session of that length and is not due for renewal, and
// every pod has its files.
func (f *fleet) awaitFresh(tb testing.TB, length time.Duration) {
	tb.Helper()
	f.await(tb, fmt.Sprintf("every pod has a new session of %s", length), func() (bool, error) {
		return !slices.ContainsFunc(f.callers, func(c *caller) bool {
			return !c.fresh(time.Now()) || c.lifetime().Round(2*time.Second) != length || !f.cluster.HasCredentials(c.pod, &c.current)
		}), nil
	})
}

// awaitController waits until both replicas of the controller are ready and one leads.
func (f *fleet) awaitController(tb testing.TB) {
	tb.Helper()
	f.await(tb, "both replicas are ready and one leads", f.controllerLeads)
}

// follow observes all callers for some time.
func (f *fleet) follow(tb testing.TB, d time.Duration) {
	tb.Helper()
	end := time.Now().Add(d)
	f.await(tb, "the end of "+d.String(), func() (bool, error) { return !time.Now().Before(end), nil })
}

// await observes all callers, every second, until a condition is true. Nothing takes longer than
// eight sessions.
func (f *fleet) await(tb testing.TB, what string, condition func() (bool, error)) {
	tb.Helper()
	f.check(tb, env.AwaitWithin(f.ctx, 8*f.Session, time.Second, what, func() (bool, error) {
		if err := f.observe(); err != nil {
			return false, err
		}
		return condition()
	}))
}

// observe takes in what has happened to every caller. It returns an error for a failed call and
// other events that must never happen.
func (f *fleet) observe() error {
	calls, total := f.STS.CallsAfter(f.read)
	f.read = total
	var failures []error
	for _, c := range f.callers {
		failures = append(failures, f.observeCaller(c, calls))
	}
	for i := range calls {
		// A refused call without a caller is of a fault, or signed with keys that were never
		// issued.
		if call := &calls[i]; call.Caller == "" && call.Code != "" && !slices.Contains(assumeRole, call.Operation) {
			failures = append(failures, fmt.Errorf("STS refused a call of an unknown caller: %s", call.Code))
		}
	}
	return errors.Join(failures...)
}

func (f *fleet) observeCaller(c *caller, calls []ststest.Call) error {
	if err := f.readObjects(c); err != nil {
		return err
	}
	lines, err := f.cluster.Output(f.ctx, c.pod)
	if err != nil {
		return err
	}
	if err := c.observeOutput(lines, time.Now()); err != nil {
		return err
	}
	for i := range calls {
		if err := c.observeCall(&calls[i], f.STS.IssuedTo); err != nil {
			return err
		}
	}
	return nil
}

// readObjects reads a caller's pod and Secret. That the API server does not answer is no error, as
// a fault can be why.
func (f *fleet) readObjects(c *caller) error {
	defer func() { c.stale = max(c.stale, c.overdue(time.Now())) }()
	ctx, cancel := context.WithTimeout(f.ctx, getTimeout)
	defer cancel()
	switch err := f.client.Get(ctx, client.ObjectKeyFromObject(c.pod), c.pod); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: its pod is gone", c.name)
	case err != nil:
		return nil
	}
	var s corev1.Secret
	switch err := f.client.Get(ctx, c.secretKey(), &s); {
	case apierrors.IsNotFound(err):
		c.observeSecret("", &ststest.Session{})
	case err == nil:
		session, _ := f.STS.IssuedTo(s.Annotations[secret.AccessKeyIDAnnotation])
		c.observeSecret(s.UID, &session)
	}
	return nil
}

// finish lets the last fault show what it has caused, waits until that is repaired, and reports. It
// does nothing if no fault has happened.
func (f *fleet) finish(tb testing.TB) {
	tb.Helper()
	if len(f.callers) == 0 {
		return
	}
	defer func() {
		f.endRow()
		f.report(tb)
		if err := f.stop(); err != nil {
			tb.Error(err)
		}
	}()
	if !tb.Failed() {
		f.follow(tb, f.Session)
		f.awaitFresh(tb, f.Session)
	}
}

func (f *fleet) report(tb testing.TB) {
	tb.Helper()
	fmt.Printf("Sessions of %s\n", f.Session)
	f.addTable(faultTable(f.rows))
	fmt.Println()
	f.addTable(callerTable(f.callers))
	for i := range f.rows {
		if row := &f.rows[i]; row.deleted > 0 {
			tb.Errorf("%s: %d Secrets were deleted that pods ask for", row.name, row.deleted)
		}
	}
}
