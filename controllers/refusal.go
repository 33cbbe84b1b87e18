package controllers

import "time"

// refusal is what the reviews of who may have a role say since one of them refused it, without
// another that allowed it in between. All times are the machine's. The zero value is no refusal.
type refusal struct {
	// of is what is refused, the role, and to whom: to an AWSIAMRole, or to pods. A refusal says
	// nothing about another.
	of string
	// first is when it was first refused, and last when it was asked and refused last.
	first, last time.Time
	// cause is when something changed, as this replica saw, that explains it: of RBAC or of the
	// Namespace. It is zero for a refusal that no change explains.
	cause time.Time
}

const (
	// confirmation is how long after the first refusal another one confirms it. It is as long as
	// an API server, of which there may be several, may still answer as before a change.
	confirmation = 10 * time.Second
	// unexplainedConfirmation is the same for a refusal for which no change was seen: an API
	// server that has just started, or that lags, refuses what it does not know yet.
	unexplainedConfirmation = 5 * time.Minute
	// causeBefore is how long before the first refusal a change may be its cause. All Secrets are
	// looked at within half of that after a change.
	causeBefore = time.Minute
	// askAgain is how often a refusal is asked about that is not confirmed, or not carried out yet.
	askAgain = time.Minute
)

// refused returns the refusal after one more. A refusal is one of all who ask, so the first time
// begins with the review that was asked last, and is over when all were asked again, the first of
// them at asked. changed is when something changed last that it may depend on; zero if nothing
// did.
func (r refusal) refused(of string, askedLast, asked, changed time.Time) refusal {
	switch {
	case r.first.IsZero() || r.of != of:
		r = refusal{of: of, first: askedLast, last: askedLast}
	case asked.After(r.last):
		r.last = asked
	}
	if r.cause.IsZero() && !changed.IsZero() && r.first.Sub(changed) <= causeBefore {
		r.cause = changed
	}
	return r
}

// unknown returns the refusal after a review that could not be decided: without a cause, it must
// be repeated from then on.
func (r refusal) unknown() refusal {
	if r.cause.IsZero() {
		return refusal{}
	}
	return r
}

// confirmedAt returns from when on one more refusal confirms the first. A change that came long
// after the first refusal explains only what is refused after it.
func (r refusal) confirmedAt() time.Time {
	unexplained := r.first.Add(unexplainedConfirmation)
	switch {
	case r.cause.IsZero():
		return unexplained
	case r.cause.After(r.first.Add(settling)):
		return earlier(r.cause.Add(confirmation), unexplained)
	default:
		return r.first.Add(confirmation)
	}
}

// confirmed reports whether the refusal was confirmed.
func (r refusal) confirmed() bool { return !r.first.IsZero() && !r.last.Before(r.confirmedAt()) }

// next returns when to ask again while there is something to take away.
func (r refusal) next() time.Time {
	next := r.last.Add(askAgain)
	for _, at := range []time.Time{r.first.Add(confirmation), r.confirmedAt()} {
		if r.last.Before(at) && at.Before(next) {
			next = at
		}
	}
	return next
}
