package controllers

import (
	"math"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
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

// failures remembers of each Secret how the last attempt failed, until one succeeds or nobody wants it. The work queue knows how often a key
// failed, but an event wakes it at once: without this, each new pod would mean one more call of STS for a role that cannot be had.
type failures struct {
	lock     sync.Mutex
	bySecret map[types.NamespacedName]failure
}

// retries grow from a second to a minute: most causes pass at once, and what an admin mends in IAM is found within a minute. See hurried.
var retries = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Cap: time.Minute, Steps: math.MaxInt32}

// hurried shortens a pause for credentials that a pod can use for no longer than left: to an eighth of that, but a second at least. After an outage those come
// back first that are closest to their end. Where nothing is left, or nothing was there, nothing is gained by it.
func hurried(pause, left time.Duration) time.Duration {
	if left <= 0 {
		return pause
	}
	return min(pause, max(time.Second, left/8))
}

func newFailures() *failures { return &failures{bySecret: map[types.NamespacedName]failure{}} }

// ofAnotherClock tells whether the failure was noted before the clock was corrected: no attempt waits for that long.
func (f *failure) ofAnotherClock(now time.Time) bool { return f.until.Sub(now) > 2*retries.Cap }

// get is the last failure; nil if there was none, or one of another clock.
func (f *failures) get(s types.NamespacedName, now time.Time) *failure {
	f.lock.Lock()
	defer f.lock.Unlock()
	if last, ok := f.bySecret[s]; ok && !last.ofAnotherClock(now) {
		return &last
	}
	return nil
}

// add remembers one more failure, and sets when to try again, for a Secret whose credentials a pod can use for as long as left.
func (f *failures) add(s types.NamespacedName, now time.Time, left time.Duration, next failure) failure {
	f.lock.Lock()
	defer f.lock.Unlock()
	next.backoff = retries
	if last, ok := f.bySecret[s]; ok && last.role == next.role && last.duration == next.duration {
		next.backoff = last.backoff
	}
	grown := next.backoff
	pause := grown.Step()
	shortened := hurried(pause, left)
	if shortened == pause { // pauses that were cut short are no reason for longer ones, once nothing is left
		next.backoff = grown
	}
	next.until = now.Add(shortened)
	f.bySecret[s] = next
	return next
}

func (f *failures) clear(s types.NamespacedName) {
	f.lock.Lock()
	defer f.lock.Unlock()
	delete(f.bySecret, s)
}
