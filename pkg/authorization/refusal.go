package authorization

import (
	"time"

	"kube-aws-iam-controller/pkg/renewal"
)

// Refusal is what reviews say since one of them refused a role, without another that allowed it in
// between. A refusal is no emergency: it takes nothing away before it is confirmed. Its times are
// those of Changes. The zero value is no refusal.
type Refusal struct {
	// of is what is refused, and to whom. A refusal says nothing about another.
	of string
	// first is when it was first refused, and last when it was asked for and refused last.
	first, last time.Time
	// cause is when something changed, as far as this replica observed, that explains it: RBAC or
	// the Namespace. It is zero for a refusal that no change explains.
	cause time.Time
}

const (
	// confirmation is how long after the first refusal another one confirms it: as long as an API
	// server can still answer as before a change.
	confirmation = PropagationDelay
	// unexplainedConfirmation is the same for a refusal for which no change was observed: an API
	// server that has just started, or whose caches lag, refuses what it does not know yet.
	unexplainedConfirmation = 5 * time.Minute
	// maxCauseAge is how long before the first refusal a change can be its cause. All Secrets are
	// reconciled within half of that after a change.
	maxCauseAge = time.Minute
	// RepeatInterval is how often a refusal is asked about that is not confirmed, or that has not
	// taken anything away yet.
	RepeatInterval = time.Minute
)

// Refused returns the refusal after one more. It is one of all subjects that ask, so the first
// time begins with the review that was asked last, and is over when all were asked again, the
// first of them at asked. changed is when something changed last that it can depend on; zero if
// nothing did.
func (r Refusal) Refused(of string, askedLast, asked, changed time.Time) Refusal {
	switch {
	case r.first.IsZero() || r.of != of:
		r = Refusal{of: of, first: askedLast, last: askedLast}
	case asked.After(r.last):
		r.last = asked
	}
	if r.cause.IsZero() && !changed.IsZero() && r.first.Sub(changed) <= maxCauseAge {
		r.cause = changed
	}
	return r
}

// Undecided returns the refusal after a review that could not be decided: without a cause, it must
// be repeated from then on.
func (r Refusal) Undecided() Refusal {
	if r.cause.IsZero() {
		return Refusal{}
	}
	return r
}

// confirmedAt returns when one more refusal confirms the first. A change long after the first
// refusal explains only what is refused after it.
func (r Refusal) confirmedAt() time.Time {
	unexplained := r.first.Add(unexplainedConfirmation)
	switch {
	case r.cause.IsZero():
		return unexplained
	case r.cause.After(r.first.Add(PropagationDelay)):
		return renewal.Earlier(r.cause.Add(confirmation), unexplained)
	default:
		return r.first.Add(confirmation)
	}
}

// Confirmed reports whether the refusal was confirmed.
func (r Refusal) Confirmed() bool { return !r.first.IsZero() && !r.last.Before(r.confirmedAt()) }

// IsDue reports whether it is time to ask again.
func (r Refusal) IsDue(now time.Time) bool { return !r.first.IsZero() && !now.Before(r.Next()) }

// Next returns when to ask again while there is something to take away.
func (r Refusal) Next() time.Time {
	next := r.last.Add(RepeatInterval)
	for _, at := range []time.Time{r.first.Add(confirmation), r.confirmedAt()} {
		if r.last.Before(at) {
			next = renewal.Earlier(next, at)
		}
	}
	return next
}
