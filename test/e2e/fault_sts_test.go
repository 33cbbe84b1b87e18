//go:build e2e && linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	ststest "kube-aws-iam-controller/test/sts"
)

// assumeRole are the operations that only the controller calls, so that faults of them hit only the
// controller.
var assumeRole = []string{"AssumeRole", "AssumeRoleWithWebIdentity"}

// stsDown breaks the connection of every call for half a session.
func (f *fleet) stsDown(tb testing.TB) (note string) {
	tb.Helper()
	return f.setSTSFault(tb, f.halfSession(), ststest.ConnectionReset)
}

// stsHangs answers no call, for a quarter of a session: a client that waits for an answer takes
// longer to notice that STS answers again.
func (f *fleet) stsHangs(tb testing.TB) (note string) {
	tb.Helper()
	return f.setSTSFault(tb, f.halfSession()/2, ststest.Hang)
}

// setSTSFault makes every call of the controller fail for some time.
func (f *fleet) setSTSFault(tb testing.TB, d time.Duration, fault ststest.Fault) (note string) {
	tb.Helper()
	f.STS.SetFault(fault, assumeRole...)
	defer f.STS.SetFault(ststest.NoFault)
	code := fault.String()
	if fault == ststest.Throttled {
		code = "Throttling"
	}
	calls := f.countCalls(tb, code, func() { f.follow(tb, d) })
	return fmt.Sprintf("%s for %.0f s, %d calls", fault, d.Seconds(), calls)
}

// countCalls returns how many calls of the controller end with a code while do runs. Without any
// the test fails, as it has shown nothing.
func (f *fleet) countCalls(tb testing.TB, code string, do func()) (calls int) {
	tb.Helper()
	before := f.STS.Counts()
	do()
	after := f.STS.Counts()
	for _, operation := range assumeRole {
		outcome := ststest.Outcome{Operation: operation, Code: code}
		calls += after[outcome] - before[outcome]
	}
	if calls == 0 {
		tb.Fatalf("no call of the controller ended with %q", code)
	}
	return calls
}

// stsSlow makes each answer take almost as long as the controller waits for it.
func (f *fleet) stsSlow(tb testing.TB) (note string) {
	tb.Helper()
	const latency = 4 * time.Second
	f.STS.SetLatency(latency, assumeRole...)
	defer f.STS.SetLatency(stsLatency)
	calls := f.countCalls(tb, "", func() { f.follow(tb, f.twoRenewals()) })
	return fmt.Sprintf("%.0f s an answer, for %.0f s, %d calls", latency.Seconds(), f.twoRenewals().Seconds(), calls)
}

// stsThrottles makes STS refuse every call, and then all but one a second.
func (f *fleet) stsThrottles(tb testing.TB) (note string) {
	tb.Helper()
	note = f.setSTSFault(tb, f.halfSession()/2, ststest.Throttled)
	f.STS.SetRateLimit(1, assumeRole...)
	defer f.STS.SetRateLimit(0)
	f.follow(tb, f.halfSession()/2)
	return note + ", then all but one a second"
}
