//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"kube-aws-iam-controller/pkg/credentials/ststest"
)

// assumeRole is the operation that only the controller calls, so that faults of it are its own.
const assumeRole = "AssumeRole"

// stsDown breaks the connection of every call for half a session.
func stsDown(ctx context.Context, f *fleet) (note string, err error) {
	return f.sts(ctx, halfSession, ststest.ConnectionReset)
}

// stsHangs answers no call, for half of the time: who waits for an answer takes longer to see that there are answers again.
func stsHangs(ctx context.Context, f *fleet) (note string, err error) {
	return f.sts(ctx, halfSession/2, ststest.Hang)
}

// sts lets something go wrong with every call of the controller.
func (f *fleet) sts(ctx context.Context, d time.Duration, fault ststest.Fault) (note string, err error) {
	f.STS.SetFault(fault, assumeRole)
	defer f.STS.SetFault(ststest.NoFault)
	code := fault.String()
	if fault == ststest.Throttled {
		code = "Throttling"
	}
	met, err := f.met(code, func() error { return f.follow(ctx, d) })
	return fmt.Sprintf("%s for %.0f s, %d calls", fault, d.Seconds(), met), err
}

// met counts the controller's calls that end in some way while something is done. There has to be one, or nothing was tried.
func (f *fleet) met(code string, do func() error) (calls int, err error) {
	outcome := ststest.Outcome{Operation: assumeRole, Code: code}
	before := f.STS.Counts()[outcome]
	if err := do(); err != nil {
		return 0, err
	}
	if calls = f.STS.Counts()[outcome] - before; calls == 0 {
		return 0, fmt.Errorf("no call of the controller ended with %q", code)
	}
	return calls, nil
}

// stsSlow lets each answer take so long that it is just waited for.
func stsSlow(ctx context.Context, f *fleet) (note string, err error) {
	const latency = 4 * time.Second
	f.STS.SetLatency(latency, assumeRole)
	defer f.STS.SetLatency(stsLatency)
	met, err := f.met("", func() error { return f.follow(ctx, twoRenewals) })
	return fmt.Sprintf("%.0f s an answer, for %.0f s, %d calls", latency.Seconds(), twoRenewals.Seconds(), met), err
}

// stsThrottles lets STS refuse every call, and then all but one a second.
func stsThrottles(ctx context.Context, f *fleet) (note string, err error) {
	note, err = f.sts(ctx, halfSession/2, ststest.Throttled)
	if err != nil {
		return "", err
	}
	f.STS.SetRateLimit(1, assumeRole)
	defer f.STS.SetRateLimit(0)
	return note + ", then all but one a second", f.follow(ctx, halfSession/2)
}
