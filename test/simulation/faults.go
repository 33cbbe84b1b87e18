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

// faults are those that there are now, and all that there were.
type faults struct {
	w     *World
	until map[string]time.Duration
	log   []fault
}

// fault is one that lasted from one time to another.
type fault struct {
	kind        string
	from, until time.Duration
}

func newFaults(w *World) *faults { return &faults{w: w, until: map[string]time.Duration{}} }

// begin lets a fault last from now on for a time.
func (f *faults) begin(kind string, d time.Duration) {
	f.w.trace.add("fault: %s for %s", kind, d)
	f.w.Reached["fault: "+kind]++
	f.until[kind] = max(f.until[kind], f.w.now+d)
	f.log = append(f.log, fault{kind, f.w.now, f.w.now + d})
}

// heal ends all faults.
func (f *faults) heal() {
	for i := range f.log {
		f.log[i].until = min(f.log[i].until, f.w.now)
	}
	clear(f.until)
}

func (f *faults) active(kind string) bool { return f.w.now < f.until[kind] }

// settle is how long after a fault what it did may show.
const settle = 15 * time.Second

// quiet reports whether there was no fault from one time to another, and none just before.
func (f *faults) quiet(from, to time.Duration, except ...string) bool {
	return f.total(from-settle, to, except...) == 0
}

// total is how long there were faults from one time to another, each counted for itself.
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

// started is called when an instance starts: what answers reviews may not know everything yet.
func (f *faults) started(inst *instance) {
	if f.w.cfg.alwaysAllow {
		return
	}
	switch r := f.w.roll("start"); {
	case r < 0.15:
		f.begin(faultReviewsWrong, f.w.between("start", time.Second, 20*time.Second))
	case r < 0.3:
		f.begin(faultReviewsUndecided, f.w.between("start", time.Second, 30*time.Second))
	case r < 0.4:
		inst.cache.lose(watchPolicies, f.w.between("start", time.Second, 20*time.Second))
	}
}

// lag is how long a watch's event takes to arrive.
func (f *faults) lag(watch string) time.Duration {
	if f.active(faultWatchLag) {
		return f.w.between("lag "+watch, 0, 5*time.Second)
	}
	return f.w.between("lag "+watch, time.Millisecond, 100*time.Millisecond)
}

func (f *faults) apiLatency(what string) time.Duration {
	if f.active(faultAPISlow) {
		return f.w.between(what, 0, 2*time.Second)
	}
	return f.w.between(what, time.Millisecond, 20*time.Millisecond)
}

func (f *faults) stsLatency(what string) time.Duration {
	if f.active(faultSTSSlow) {
		return f.w.between(what, 0, 5*time.Second)
	}
	return f.w.between(what, 20*time.Millisecond, 200*time.Millisecond)
}

// apiError is what a request to the API server fails with, before it takes effect.
func (f *faults) apiError(what string, writes bool) error {
	if f.active(faultAPIDown) {
		return errors.New("dial tcp 10.0.0.1:443: connect: connection refused")
	}
	if !f.active(faultAPIErrors) || f.w.roll(what) > 0.4 {
		return nil
	}
	switch r := f.w.roll(what); {
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

// lostAnswer is what a write ends with that took effect.
func (f *faults) lostAnswer(what string) error {
	if f.active(faultLostAnswers) && f.w.roll(what) < 0.4 {
		return context.DeadlineExceeded
	}
	return nil
}

// review is what a review that goes wrong ends with; nil if it goes right.
func (f *faults) review(_ *instance, what string) (*authorizationv1.SubjectAccessReviewStatus, error) {
	if err := f.apiError(what, false); err != nil {
		return nil, err
	}
	switch {
	case f.active(faultReviewsUndecided):
		switch r := f.w.roll(what); {
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

// sts is the error of a call that STS answered.
func (f *faults) sts(what string) error {
	if f.active(faultIdentityLost) {
		return stsError(credentials.Expired, "ExpiredToken")
	}
	if !f.active(faultSTSErrors) || f.w.roll(what) > 0.5 {
		return nil
	}
	switch r := f.w.roll(what); {
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
