package simulation

import (
	"context"
	"errors"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-aws-iam-controller/pkg/credentials"
)

// The kinds of faults.
const (
	faultAPIErrors        = "API errors"
	faultAPIDown          = "API server down"
	faultAPISlow          = "API server slow"
	faultLostAnswers      = "answers of writes lost"
	faultWatchLost        = "watch lost"
	faultWatchLag         = "watches lag"
	faultReviewsUndecided = "reviews undecided"
	faultReviewsWrong     = "reviews wrong"
	faultSTSDown          = "STS down"
	faultSTSErrors        = "STS errors"
	faultSTSSlow          = "STS slow"
	faultIdentityLost     = "identity lost"
	faultClock            = "clock set"
	faultDown             = "no controller"
	faultOtherWriter      = "another writer"
	faultTwoInstances     = "two instances"
)

// faults has the active and all past faults.
type faults struct {
	sim   *simulator
	until map[string]time.Duration
	log   []fault
}

// fault is a fault with its begin and end.
type fault struct {
	kind        string
	from, until time.Duration
}

func newFaults(sim *simulator) *faults { return &faults{sim: sim, until: map[string]time.Duration{}} }

// begin starts a fault that ends after a time.
func (f *faults) begin(kind string, d time.Duration) {
	f.sim.trace.add("fault: %s for %s", kind, d)
	f.sim.Reached["fault: "+kind]++
	f.until[kind] = max(f.until[kind], f.sim.now+d)
	f.log = append(f.log, fault{kind, f.sim.now, f.sim.now + d})
}

// heal ends all faults.
func (f *faults) heal() {
	for i := range f.log {
		f.log[i].until = min(f.log[i].until, f.sim.now)
	}
	clear(f.until)
}

func (f *faults) active(kind string) bool { return f.sim.now < f.until[kind] }

// settleTime is how long after a fault its effects are tolerated.
const settleTime = 15 * time.Second

// quiet reports whether there was no fault between two times, or shortly before.
func (f *faults) quiet(from, to time.Duration, except ...string) bool {
	return f.total(from-settleTime, to, except...) == 0
}

// total returns the sum of the durations of all faults between two times.
func (f *faults) total(from, to time.Duration, except ...string) (sum time.Duration) {
next:
	for _, one := range f.log {
		for _, kind := range except {
			if one.kind == kind {
				continue next
			}
		}
		if one.from <= to && one.until >= from {
			sum += max(1, min(one.until, to)-max(one.from, from))
		}
	}
	return sum
}

// started can begin a fault when an instance starts: that access reviews are wrong or undecided.
func (f *faults) started(inst *instance) {
	if f.sim.cfg.alwaysAllow {
		return
	}
	switch r := f.sim.roll("start"); {
	case r < 0.15:
		f.begin(faultReviewsWrong, f.sim.between("start", time.Second, 20*time.Second))
	case r < 0.3:
		f.begin(faultReviewsUndecided, f.sim.between("start", time.Second, 30*time.Second))
	case r < 0.4:
		inst.cache.lose(watchPolicies, f.sim.between("start", time.Second, 20*time.Second))
	}
}

// lag returns the delay of a watch event.
func (f *faults) lag(watch string) time.Duration {
	if f.active(faultWatchLag) {
		return f.sim.between("lag "+watch, 0, 5*time.Second)
	}
	return f.sim.between("lag "+watch, time.Millisecond, 100*time.Millisecond)
}

func (f *faults) apiLatency(what string) time.Duration {
	if f.active(faultAPISlow) {
		return f.sim.between(what, 0, 2*time.Second)
	}
	return f.sim.between(what, time.Millisecond, 20*time.Millisecond)
}

func (f *faults) stsLatency(what string) time.Duration {
	if f.active(faultSTSSlow) {
		return f.sim.between(what, 0, 5*time.Second)
	}
	return f.sim.between(what, 20*time.Millisecond, 200*time.Millisecond)
}

// apiError returns the error of a request to the API server that has no effect, or nil.
func (f *faults) apiError(what string, writes bool) error {
	if f.active(faultAPIDown) {
		return errors.New("dial tcp 10.0.0.1:443: connect: connection refused")
	}
	if !f.active(faultAPIErrors) || f.sim.roll(what) > 0.4 {
		return nil
	}
	switch r := f.sim.roll(what); {
	case r < 0.25:
		return apierrors.NewInternalError(errors.New("etcdserver: leader changed"))
	case r < 0.5:
		return apierrors.NewTooManyRequests("too many requests", 1)
	case r < 0.75 && writes:
		return apierrors.NewConflict(secretResource, "any", errors.New("object was modified"))
	default:
		return apierrors.NewTimeoutError("the server was unable to return a response in time", 1)
	}
}

// lostAnswer returns the error of a write that took effect, or nil.
func (f *faults) lostAnswer(what string) error {
	if f.active(faultLostAnswers) && f.sim.roll(what) < 0.4 {
		return context.DeadlineExceeded
	}
	return nil
}

// review returns the wrong result or the error of an access review, or nil for the right result.
func (f *faults) review(_ *instance, what string) (*authorizationv1.SubjectAccessReviewStatus, error) {
	if err := f.apiError(what, false); err != nil {
		return nil, err
	}
	switch {
	case f.active(faultReviewsUndecided):
		switch r := f.sim.roll(what); {
		case r < 0.4:
			return &authorizationv1.SubjectAccessReviewStatus{EvaluationError: "rolebindings cannot be listed"}, nil
		case r < 0.6:
			return nil, apierrors.NewTooManyRequests("too many requests", 1)
		case r < 0.8:
			return nil, context.DeadlineExceeded
		default:
			return nil, apierrors.NewInternalError(errors.New("webhook authorizer failed"))
		}
	case f.active(faultReviewsWrong):
		return &authorizationv1.SubjectAccessReviewStatus{}, nil
	}
	return nil, nil
}

// sts returns the error with which STS responds, or nil.
func (f *faults) sts(what string) error {
	if f.active(faultIdentityLost) {
		return stsError(credentials.Expired, "ExpiredToken")
	}
	if !f.active(faultSTSErrors) || f.sim.roll(what) > 0.5 {
		return nil
	}
	switch r := f.sim.roll(what); {
	case r < 0.3:
		return stsError(credentials.Throttled, "Throttling")
	case r < 0.6:
		return stsError(credentials.Unavailable, "ServiceUnavailable")
	case r < 0.8:
		return stsError(credentials.Denied, "AccessDenied")
	default:
		return stsError(credentials.Rejected, "RegionDisabledException")
	}
}
