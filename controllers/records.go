package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secretstore"
)

// record is what the reconciler remembers of one Secret beside what the API server has. All its
// times are those of the local monotonic clock, but for those of a failure. The zero value
// remembers nothing.
type record struct {
	// failure is why the last attempt failed, if none succeeded since.
	failure *failure
	// writes is what is remembered of the writes of the Secret.
	writes secretstore.Writes
	// unusedSince is when a reconcile first found that no object asks for the Secret.
	unusedSince time.Time

	// reviews is what is remembered of reviews.
	reviews authorization.History
	// withoutRight is how many pods hold the Secret although their ServiceAccount has no right to
	// its role.
	withoutRight int

	// reported are the events that pods have seen. It is changed in place, by the one reconcile of
	// the Secret.
	reported events.Reported
	// logged is the note that was logged last of a Secret that the controller itself works with.
	logged string
	// statusPause is how long to wait after a status that could not be written.
	statusPause time.Duration
}

// records has the record of each Secret that is asked for or exists. The one reconcile of a Secret
// gets the record, and puts the next one.
type records struct {
	lock     sync.Mutex
	bySecret map[types.NamespacedName]*record
}

func newRecords() *records { return &records{bySecret: map[types.NamespacedName]*record{}} }

// get returns a copy of the record of a Secret.
func (m *records) get(s types.NamespacedName) record {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.bySecret[s]; ok {
		return *known
	}
	return record{}
}

// put makes next the record of a Secret.
func (m *records) put(s types.NamespacedName, next *record) {
	m.lock.Lock()
	defer m.lock.Unlock()
	own := *next // next is a part of a snapshot, all of which it would keep in memory
	m.bySecret[s] = &own
}

func (m *records) forget(s types.NamespacedName) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.bySecret, s)
}

// count returns the sum of a number over all records.
func (m *records) count(of func(*record) int) (total int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, known := range m.bySecret {
		total += of(known)
	}
	return total
}

// failure is why an attempt to write a Secret failed.
type failure struct {
	// reason and action are those of the event; a transient failure has none.
	reason, action string
	// note says what went wrong and what to do.
	note string
	// role and duration are those of the session. A failure says nothing about another one.
	role     role.ARN
	duration time.Duration
	// retryAt is when to try again, by STS's clock.
	retryAt time.Time
	backoff renewal.Backoff
}

// transient reports whether the cause is a change at the same moment: the next reconcile sees it.
func (f *failure) transient() bool { return f.reason == "" }

// isAbout reports whether the failure says anything about a session. That a Secret of another
// writer has the name does so about every one.
func (f *failure) isAbout(s credentials.Session) bool {
	return f.reason == v1.ReasonSecretNotManaged || (f.role == s.Role && f.duration == s.Duration)
}

// validAt returns the failure; nil if there is none, or if it is from before a correction of the
// clock: no attempt waits for that long.
func (f *failure) validAt(now time.Time) *failure {
	if f == nil || f.retryAt.Sub(now) > 2*renewal.MaxBackoff {
		return nil
	}
	return f
}

// after returns the failure with the time of the next attempt, for a Secret whose credentials a
// pod can use for as long as left. last is the failure before it; nil if there is none.
func (f failure) after(last *failure, s types.NamespacedName, now time.Time, left time.Duration) *failure {
	if last == nil || last.role != f.role || last.duration != f.duration {
		last = &failure{}
	}
	f.retryAt, f.backoff = last.backoff.After(s.String(), now, left)
	return &f
}
