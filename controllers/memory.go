package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// record is what the reconciler remembers of one Secret beside what the API server has. All its
// times are the machine's, but for those of a failure. The zero value remembers nothing.
type record struct {
	// failure is how the last attempt to give credentials went wrong, if none succeeded since.
	failure *failure
	// issues and repairs say how often the Secret was written lately, with credentials of STS and
	// with its own.
	issues, repairs pace
	// accessKeyID is that of the credentials that were issued last.
	accessKeyID string
	// allowed is when a review last said that the role may be assumed, and refusals what they
	// have said since, by the kind of claim. heldRefusal is the same about the role that the
	// Secret holds while another is asked for.
	allowed     time.Time
	refusals    [claimKinds]refusal
	heldRefusal refusal
	// undecided is why the last review could not be decided, if none was decided since.
	undecided *undecided
	// contestedBy is the writer that keeps changing the Secret back, and removed is true if it
	// was deleted by the controller itself since it was written last.
	contestedBy string
	removed     bool
	// target is a digest of what the Secret was to be for when it was written last.
	target uint64
	// statusPause is how long to wait after a status that could not be written.
	statusPause time.Duration
	// logged is what the log said last of a Secret that the controller itself works with.
	logged string
	// withoutRight is how many pods hold the Secret although their ServiceAccount may not assume
	// its role.
	withoutRight int
}

// allowedSurely returns the time up to which no change has taken the right away: a review that
// allowed it may have been answered as before a change that was seen already. It is zero if no
// review allowed it.
func (k *record) allowedSurely() time.Time {
	if k.allowed.IsZero() {
		return time.Time{}
	}
	return k.allowed.Add(-settling)
}

// memory has the record of each Secret that is asked for or exists.
type memory struct {
	lock     sync.Mutex
	bySecret map[types.NamespacedName]*record
}

func newMemory() *memory { return &memory{bySecret: map[types.NamespacedName]*record{}} }

// get returns a copy of the record of a Secret.
func (m *memory) get(s types.NamespacedName) record {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.bySecret[s]; ok {
		return *known
	}
	return record{}
}

// update changes the record of a Secret, and returns a copy of it.
func (m *memory) update(s types.NamespacedName, change func(*record)) record {
	m.lock.Lock()
	defer m.lock.Unlock()
	known, ok := m.bySecret[s]
	if !ok {
		known = &record{}
		m.bySecret[s] = known
	}
	change(known)
	return *known
}

// forget drops the record of a Secret.
func (m *memory) forget(s types.NamespacedName) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.bySecret, s)
}

// sum adds up a number of all records.
func (m *memory) sum(of func(*record) int) (total int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, known := range m.bySecret {
		total += of(known)
	}
	return total
}
