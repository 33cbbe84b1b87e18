// Package records keeps what the reconciler remembers of each Secret beside what the API server
// has.
package records

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/secretstore"
)

// Record is what the reconciler remembers of one Secret. All its times are those of the local
// monotonic clock, but for those of a Failure. The zero value remembers nothing.
type Record struct {
	// Failure is why the last attempt failed, if none succeeded since.
	Failure *Failure
	// Writes is what is remembered of the writes of the Secret.
	Writes secretstore.Writes
	// UnusedSince is when a reconcile first found that no object asks for the Secret.
	UnusedSince time.Time

	// Reviews is what is remembered of reviews.
	Reviews authorization.History
	// WithoutRight is how many pods hold the Secret although their ServiceAccount has no right to
	// its role.
	WithoutRight int

	// NotInjected is how many pods should have the Secret by injection, and have not.
	NotInjected int
	// PodsRefreshedFor is the ServiceAccount whose pods were listed when it came to inject.
	PodsRefreshedFor types.UID

	// Reported are the events that pods have seen. It is changed in place, by the one reconcile of
	// the Secret.
	Reported events.Reported
	// Logged is the note that was logged last of a Secret that the controller itself works with.
	Logged string
	// StatusPause is how long to wait after a status that could not be written.
	StatusPause time.Duration
}

// Store has the Record of each Secret that is asked for or exists. The one reconcile of a Secret
// gets the Record, and puts the next one. It is safe for concurrent use.
type Store struct {
	lock     sync.Mutex
	bySecret map[types.NamespacedName]*Record
}

// New returns an empty Store.
func New() *Store { return &Store{bySecret: map[types.NamespacedName]*Record{}} }

// Get returns a copy of the Record of a Secret.
func (m *Store) Get(secret types.NamespacedName) Record {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.bySecret[secret]; ok {
		return *known
	}
	return Record{}
}

// Put makes next the Record of a Secret.
func (m *Store) Put(secret types.NamespacedName, next *Record) {
	m.lock.Lock()
	defer m.lock.Unlock()
	own := *next // next can be a part of a snapshot, all of which it would keep in memory
	m.bySecret[secret] = &own
}

// Forget removes the Record of a Secret.
func (m *Store) Forget(secret types.NamespacedName) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.bySecret, secret)
}

// Count returns the sum of a number over all Records.
func (m *Store) Count(of func(*Record) int) (total int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, known := range m.bySecret {
		total += of(known)
	}
	return total
}
