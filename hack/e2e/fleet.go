//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	// sdkSession is how long the sessions of SDKs last: a second of it stands for a minute of the hour that they last elsewhere.
	sdkSession = time.Minute
	// halfSession is how long what the controller needs may be away without any harm to a pod.
	halfSession = sdkSession / 2
	// twoRenewals is long enough for most Secrets to be renewed twice.
	twoRenewals = sdkSession / 3
	// rotations is how often each SDK has to take up new keys.
	rotations = 5
	// fleetPatience is how long anything may take that the fleet waits for.
	fleetPatience = 8 * time.Minute
)

// fleet is a pod for each SDK. All of them call STS every second on short sessions, with nothing but the documented environment, through all that is
// done to the controller meanwhile. Not one call may fail.
type fleet struct {
	*cluster
	began time.Time
	users []*user
	read  int // calls of STS that were taken in
	tried []tried
}

// tried is what was seen from the begin of one trial to that of the next.
type tried struct {
	name, note string
	began      time.Time
	took       time.Duration
	calls      int
	failed     int
	deleted    int
	stale      time.Duration // how long past half of its session the oldest Secret was
}

// sdks lets every SDK live through some rotations of its keys.
func sdks(ctx context.Context, f *fleet) (note string, err error) {
	least := func() int {
		return len(slices.MinFunc(f.users, func(a, b *user) int { return len(a.lags) - len(b.lags) }).lags)
	}
	err = f.await(ctx, fmt.Sprintf("every SDK has taken up new keys %d times", rotations), func() (bool, error) { return least() >= rotations, nil })
	return fmt.Sprintf("nothing; every SDK has taken up new keys %d times or more since its start", least()), err
}

// during is a trial of something that happens while the fleet calls.
func during(name string, do func(context.Context, *fleet) (note string, err error)) trial {
	return trial{name, func(ctx context.Context, c *cluster) error {
		f, err := c.callers(ctx)
		if err != nil {
			return err
		}
		// Only what comes next may be to blame for what is seen next.
		if err := f.awaitFresh(ctx, sdkSession); err != nil {
			return err
		}
		f.begin(name)
		note, err := do(ctx, f)
		f.tried[len(f.tried)-1].note = note
		fmt.Printf("%.0f s. %s\n", time.Since(f.tried[len(f.tried)-1].began).Seconds(), note)
		return err
	}}
}

// callers is the fleet, which begins to call when it is asked for first. The kubelet is made to look at its pods every second, so that it takes no
// larger a part of a session than where sessions last an hour.
func (c *cluster) callers(ctx context.Context) (*fleet, error) {
	if c.fleet != nil {
		return c.fleet, nil
	}
	if err := c.quickenKubelet(ctx); err != nil {
		return nil, err
	}
	c.STS.SetSessionLifetime(sdkSession)
	f := &fleet{cluster: c, began: time.Now()}
	_, f.read = c.STS.CallsAfter(0)
	found, err := readSDKs(c.sdks)
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		u := &user{sdk: s, left: sdkSession}
		u.pod = s.pod(u.role(), "aws-iam-"+u.role(), c.STS.URL)
		if err := c.Cluster.Create(ctx, u.pod); err != nil {
			return nil, err
		}
		f.users = append(f.users, u)
	}
	c.fleet = f
	err = f.await(ctx, "every SDK has called", func() (bool, error) {
		return !slices.ContainsFunc(f.users, func(u *user) bool { return u.calls == 0 }), nil
	})
	return f, err
}

// begin begins a trial, and ends the one before.
func (f *fleet) begin(name string) {
	f.end()
	f.tried = append(f.tried, tried{name: name, began: time.Now()})
	for _, u := range f.users {
		u.mark()
	}
}

func (f *fleet) end() {
	if len(f.tried) == 0 {
		return
	}
	t := &f.tried[len(f.tried)-1]
	t.took = time.Since(t.began)
	for _, u := range f.users {
		t.calls += u.calls - u.marked
		t.failed += u.failed
		t.deleted += u.deleted
		t.stale = max(t.stale, u.stale)
	}
}

// awaitFresh waits until every Secret has a session of that length, none is to be renewed, and every pod has the files.
func (f *fleet) awaitFresh(ctx context.Context, length time.Duration) error {
	return f.await(ctx, fmt.Sprintf("every pod has a new session of %s", length), func() (bool, error) {
		return !slices.ContainsFunc(f.users, func(u *user) bool {
			return !u.renewed(time.Now()) || u.life().Round(2*time.Second) != length || !u.mounted()
		}), nil
	})
}

// follow lets time pass.
func (f *fleet) follow(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := f.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// await lets time pass until something is so.
func (f *fleet) await(ctx context.Context, what string, holds func() (bool, error)) error {
	for deadline := time.Now().Add(fleetPatience); ; {
		ok, err := holds()
		switch {
		case err != nil || ok:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("not within %s: %s", fleetPatience, what)
		}
		if err := f.look(ctx); err != nil {
			return err
		}
	}
}

// look takes a second, and brings what is known of every user up to date. It returns an error as soon as one has seen what it never may.
func (f *fleet) look(ctx context.Context) error {
	if err := sandbox.Pause(ctx, time.Second); err != nil {
		return err
	}
	calls, total := f.STS.CallsAfter(f.read)
	f.read = total
	var failures []error
	for _, u := range f.users {
		failures = append(failures, u.look(ctx, f.cluster, calls))
	}
	for _, call := range calls {
		if call.Caller == "" && call.Code != "" && call.Operation != assumeRole { // of a fault, or with keys that nobody was given
			failures = append(failures, fmt.Errorf("STS refused a call of nobody it knows: %s", call.Code))
		}
	}
	return errors.Join(failures...)
}

// finish sees to it that what was done last has had the time to show, and that it was mended.
func (f *fleet) finish(ctx context.Context) error {
	err := f.follow(ctx, sdkSession)
	if err == nil {
		err = f.awaitFresh(ctx, sdkSession)
	}
	f.end()
	f.report()
	for _, t := range f.tried {
		if t.deleted > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d Secrets were deleted that were wanted", t.name, t.deleted))
		}
	}
	return err
}
