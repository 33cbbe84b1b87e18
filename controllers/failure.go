package controllers

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// failure is how an attempt to give credentials went wrong.
type failure struct {
	// reason and action are those of the event; without a reason it is a transient failure.
	reason, action string
	// note says what went wrong and what to do.
	note string
	// role and duration are what was asked for. A failure says nothing about another.
	role     role.ARN
	duration time.Duration
	// until is when to try again.
	until   time.Time
	backoff wait.Backoff
}

// transient tells whether the failure comes from a change at the same moment: the next look will see it, and nobody has to be told.
func (f *failure) transient() bool { return f.reason == "" }

// about tells whether the failure says anything about a session that is wanted now. That a Secret is in the way does so about every one.
func (f *failure) about(s credentials.Session) bool {
	return f.reason == ReasonSecretNotManaged || (f.role == s.Role && f.duration == s.Duration)
}

// retries grow from a second to a minute: most causes pass at once, and what an admin mends in IAM is found within a minute. See hurried.
var retries = wait.Backoff{Duration: time.Second, Factor: 2, Cap: time.Minute, Steps: math.MaxInt32}

// jitter is by how much a pause is longer at the most, so that what failed together is not tried
// again together.
const jitter = 0.2

// pauseOf returns the next pause of a Secret: always the same for one Secret and pause.
func pauseOf(b *wait.Backoff, s types.NamespacedName) time.Duration {
	pause := b.Step()
	return pause + time.Duration(jitter*share(s.String()+pause.String())*float64(pause))
}

// hurried shortens a pause for credentials that a pod can use for no longer than left: to an eighth of that, but a second at least. After an outage those come
// back first that are closest to their end. Where nothing is left, or nothing was there, nothing is gained by it.
func hurried(pause, left time.Duration) time.Duration {
	if left <= 0 {
		return pause
	}
	return min(pause, max(time.Second, left/8))
}

// ofAnotherClock reports whether the failure was noted before the clock was corrected: no attempt
// waits for that long.
func (f *failure) ofAnotherClock(now time.Time) bool { return f.until.Sub(now) > 2*retries.Cap }

// lastFailure returns the last failure; nil if there was none, or one of another clock.
func (k *record) lastFailure(now time.Time) *failure {
	if k.failure == nil || k.failure.ofAnotherClock(now) {
		return nil
	}
	last := *k.failure
	return &last
}

// afterFailure returns one more failure with the time of the next attempt, for a Secret whose
// credentials a pod can use for as long as left. last is the failure before; nil if there was
// none.
func afterFailure(s types.NamespacedName, last *failure, now time.Time, left time.Duration, next failure) *failure {
	next.backoff = retries
	if last != nil && last.role == next.role && last.duration == next.duration {
		next.backoff = last.backoff
	}
	grown := next.backoff
	pause := pauseOf(&grown, s)
	shortened := hurried(pause, left)
	if shortened == pause { // pauses that were cut short are no reason for longer ones, once nothing is left
		next.backoff = grown
	}
	next.until = now.Add(shortened)
	return &next
}

// undecided says that reviews of some subjects could not be decided.
type undecided struct {
	of      []policy.Subject
	err     error
	at      time.Time // when to ask again, by the machine's clock
	backoff wait.Backoff
}

// afterUndecided returns what is remembered of one more review that could not be decided, for a
// Secret whose credentials a pod can use for as long as left.
func afterUndecided(s types.NamespacedName, last *undecided, now time.Time, left time.Duration, of []policy.Subject, err error) *undecided {
	next := &undecided{of: of, err: err, backoff: retries}
	if last != nil {
		next.backoff = last.backoff
	}
	next.at = now.Add(hurried(pauseOf(&next.backoff, s), left))
	return next
}
