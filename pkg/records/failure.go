package records

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/role"
)

// Failure is why an attempt to write a Secret failed.
type Failure struct {
	// Reason and Action are those of the event; a transient failure has none.
	Reason, Action string
	// Note says what went wrong and what to do.
	Note string
	// Role and Duration are those of the session. A failure says nothing about another one.
	Role     role.ARN
	Duration time.Duration
	// RetryAt is when to try again, by STS's clock.
	RetryAt time.Time

	backoff renewal.Backoff
}

// Transient reports whether the cause is a change at the same moment: the next reconcile sees it.
func (f *Failure) Transient() bool { return f.Reason == "" }

// IsAbout reports whether the failure says anything about a session. That a Secret of another
// writer has the name does so about every one.
func (f *Failure) IsAbout(s credentials.Session) bool {
	return f.Reason == v1.ReasonSecretNotManaged || (f.Role == s.Role && f.Duration == s.Duration)
}

// ValidAt returns the failure; nil if there is none, or if it is from before a correction of the
// clock: no attempt waits for that long.
func (f *Failure) ValidAt(now time.Time) *Failure {
	if f == nil || f.RetryAt.Sub(now) > 2*renewal.MaxBackoff {
		return nil
	}
	return f
}

// After returns the failure with the time of the next attempt, for a Secret whose credentials a
// pod can use for as long as left. last is the failure before it; nil if there is none.
func (f Failure) After(last *Failure, s types.NamespacedName, now time.Time, left time.Duration) *Failure {
	if last == nil || last.Role != f.Role || last.Duration != f.Duration {
		last = &Failure{}
	}
	f.RetryAt, f.backoff = last.backoff.After(s.String(), now, left)
	return &f
}
