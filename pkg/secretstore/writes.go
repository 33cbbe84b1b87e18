package secretstore

import (
	"cmp"
	"time"

	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
)

// Writes is what is remembered of the writes of one Secret: they are spaced out, whatever causes
// them, and show whether another writer changes the Secret back. Its times are those of the local
// monotonic clock. The zero value has no writes. A copy is a snapshot.
type Writes struct {
	// Version is the resourceVersion that was written last, until the cache has it.
	Version string
	// AccessKeyID is that of the credentials that were written last, and target a digest of what
	// the Secret was to be for then.
	AccessKeyID string
	target      uint64
	// deleted is true if the controller itself deleted the Secret since.
	deleted bool
	// issues and repairs are how often it was written lately, with new credentials and with those
	// that it held.
	issues, repairs renewal.Pace
	// contestedBy is the writer that keeps changing the Secret back.
	contestedBy string
}

// Write is one write of a Secret.
type Write struct {
	// Cause is why it was necessary.
	Cause string
	// Target is what the Secret is to be for.
	Target *secret.Target
	// Before is the access key ID in the Secret before it; empty for none.
	Before string
	// Repair is true if the Secret keeps its credentials.
	Repair bool
	// Version and AccessKeyID are what was written, and Life is how long these credentials live.
	Version, AccessKeyID string
	Life                 time.Duration
	// Writer is who changed the Secret before, as far as that is known.
	Writer string
}

// The causes of writes, as logs and metrics have them: there is no Secret; its credentials are due;
// it is not as it was written, and gets new credentials, or keeps those that it holds.
const (
	New      = "new"
	Refresh  = "refresh"
	Restored = "restored"
	Repaired = "repaired"
)

// contestedWrites is how many writes of one Secret that follow each other without a rest show that
// another writer changes it back.
const contestedWrites = renewal.FreeWrites

// NextIssue and NextRepair return the time before which the Secret must not be written again;
// zero if it can be written at once.
func (w *Writes) NextIssue(now time.Time) time.Time { return w.issues.Next(now) }

// NextRepair is NextIssue for a write with the credentials that the Secret holds.
func (w *Writes) NextRepair(now time.Time) time.Time { return w.repairs.Next(now) }

// NeedsWriter reports whether it matters who changed the Secret before one more issue.
func (w *Writes) NeedsWriter(next *Write) bool {
	return w.issues.Count+1 >= contestedWrites && w.changedBack(next, contestedWrites)
}

// After returns the Writes after one more.
func (w Writes) After(one *Write, now time.Time) Writes {
	pace := &w.issues
	if one.Repair {
		pace = &w.repairs
	}
	*pace = pace.AfterWrite(now, one.Life)
	switch {
	case pace.Count < contestedWrites || !w.changedBack(one, pace.Count):
	case one.Cause == New:
		w.contestedBy = events.UnknownDeleter
	default:
		w.contestedBy = cmp.Or(one.Writer, "another writer")
	}
	w.Version, w.AccessKeyID, w.target, w.deleted = one.Version, one.AccessKeyID, one.Target.Digest(), false
	return w
}

// AfterFailure returns the Writes after credentials of a life were issued and could not be written.
func (w Writes) AfterFailure(life time.Duration, now time.Time) Writes {
	w.issues = w.issues.AfterWrite(now, life)
	return w
}

// AfterDelete returns the Writes after the controller deleted the Secret.
func (w Writes) AfterDelete() Writes {
	w.deleted = true
	return w
}

// AfterRest returns the Writes without the writer that changed the Secret back, if it did not do so
// lately.
func (w Writes) AfterRest(now time.Time) Writes {
	if w.ContestedBy(now) == "" {
		w.contestedBy = ""
	}
	return w
}

// Kept returns what is remembered of a Secret that does not exist and that no object asks for: that
// it was written lately, so that nothing is gained by deleting it.
func (w Writes) Kept() Writes {
	return Writes{issues: w.issues, repairs: w.repairs, deleted: w.deleted}
}

// ContestedBy returns the writer that changed the Secret back lately, or "".
func (w *Writes) ContestedBy(now time.Time) string {
	if w.RestedBy().After(now) {
		return w.contestedBy
	}
	return ""
}

// RestedBy returns when the pauses between writes are over if nothing is written until then.
func (w *Writes) RestedBy() time.Time {
	issues, repairs := w.issues.RestedBy(), w.repairs.RestedBy()
	if repairs.After(issues) {
		return repairs
	}
	return issues
}

// changedBack reports whether a write is necessary because another writer changed or deleted what
// was written before. count is how many writes followed each other with this one.
func (w *Writes) changedBack(one *Write, count int) bool {
	switch {
	case w.target != one.Target.Digest():
		return false // its own users changed what it is to be
	case one.Cause == Restored || one.Cause == Repaired:
		return true
	case one.Cause == Refresh: // of credentials that are not those that were issued last
		return w.AccessKeyID != "" && one.Before != w.AccessKeyID
	default: // a pod and its Secret can be deleted together, some times
		return !w.deleted && count > contestedWrites
	}
}
