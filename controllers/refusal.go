package controllers

import "time"

// refusal is what the reviews of who may have a Secret's role say since one of them refused it
// last without another that allowed it in between. All times are the machine's. The zero value is
// no refusal.
type refusal struct {
	// first is when it was first refused, and last when it was asked and refused last.
	first, last time.Time
	// explained is true if a change of RBAC or of the Namespace, which this replica saw, can be
	// the cause.
	explained bool
}

const (
	// confirmation is how long after the first refusal another one confirms it. It is as long as
	// an API server, of which there may be several, may still answer as before a change.
	confirmation = 10 * time.Second
	// unexplainedConfirmation is the same for a refusal for which no change was seen: an API
	// server that has just started, or that lags, refuses what it does not know yet.
	unexplainedConfirmation = 5 * time.Minute
	// askAgain is how often a refusal is asked about that is not confirmed, or not carried out yet.
	askAgain = time.Minute
)

// refused returns the refusal after one more. A refusal is one of all who ask, so the first time begins with the review
// that was asked last, and is over when all were asked again, the first of them at asked.
func (r refusal) refused(askedLast, asked time.Time, explained bool) refusal {
	if r.first.IsZero() {
		return refusal{first: askedLast, last: askedLast, explained: explained}
	}
	if asked.After(r.last) {
		r.last = asked
	}
	r.explained = r.explained || explained
	return r
}

// confirmedAt returns from when on one more refusal confirms the first.
func (r refusal) confirmedAt() time.Time {
	if r.explained {
		return r.first.Add(confirmation)
	}
	return r.first.Add(unexplainedConfirmation)
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
