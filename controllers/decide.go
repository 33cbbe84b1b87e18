package controllers

import (
	"cmp"
	"time"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secretstore"
)

// action is what to do about a Secret. The zero value rejects.
type action int

const (
	// actionReject gives no new credentials. An existing Secret stays while its credentials live.
	actionReject action = iota
	// actionNone changes nothing.
	actionNone
	// actionIssue gets credentials and writes them.
	actionIssue
	// actionRepair writes the Secret again with the credentials that it holds, or the seed with
	// those in memory.
	actionRepair
	// actionDelete deletes the Secret.
	actionDelete
)

// decision is what to do now and when to reconcile again.
type decision struct {
	action action
	// reason is one word: that of an event for a rejection, otherwise of a log line and a metric.
	reason string
	// eventAction is the action of the event of a rejection. It keeps causes apart that have the
	// same reason.
	eventAction string
	// note says why, and what to do; for rejections, and where the seed is not renewed.
	note string
	// requeueAt is when to reconcile again at the latest; zero if there is nothing to wait for.
	requeueAt time.Time
	// since is when new credentials became due, for a renewal.
	since time.Time
}

// Reasons of decisions that are not reasons of events.
const (
	reasonPaused   = "paused"
	reasonUnused   = "unused"
	reasonExpired  = "expired"
	reasonReplaced = "replaced"
)

const (
	// rejectionRetry is when to reconcile again what was rejected for a cause that raises no event
	// in the cluster.
	rejectionRetry = time.Minute
	// unreadyRetry is when to reconcile again what is due while the controller has no AWS
	// identity, which can be thousands of Secrets. See renewal.Hurry.
	unreadyRetry = 10 * time.Second
)

// decide returns what to do about a Secret. It is pure.
func decide(s *state) decision {
	d := s.firstThatApplies()
	if d.action == actionDelete {
		d = s.unlessKept(d)
	}
	if !s.recheckAt.IsZero() && !d.requeueAt.IsZero() {
		d.requeueAt = renewal.Earlier(d.requeueAt, s.recheckAt)
	}
	return d
}

// unlessKept returns a deletion, unless the Secret must stay, is being deleted already, or could
// not be deleted a moment ago.
func (s *state) unlessKept(d decision) decision {
	switch {
	case s.seed || s.current.inUse: // without it the controller's own pod could not start any more
		d.action = actionReject
		return d
	case s.current.deleting():
		return decision{action: actionNone, reason: d.reason, requeueAt: s.now.Add(rejectionRetry)}
	case s.failure != nil && s.failure.Action == secretstore.ActionDelete && s.now.Before(s.failure.RetryAt):
		return decision{action: actionReject, reason: s.failure.Reason, eventAction: secretstore.ActionDelete, note: s.failure.Note, requeueAt: s.failure.RetryAt}
	default:
		return d
	}
}

// firstThatApplies reads from top to bottom: the first case that applies decides.
func (s *state) firstThatApplies() decision {
	later := s.now.Add(rejectionRetry)
	switch {
	case s.unfit != nil && !s.seed:
		return decision{action: actionDelete, reason: s.unfitReason, note: s.unfit.Error(), requeueAt: later}
	case !s.wanted:
		return s.unused()
	case s.invalid != nil:
		return s.reject(s.invalidReason, s.invalid.Error(), later)
	case s.unready != nil:
		return s.waitingForIdentity()
	case s.seed && s.current == nil:
		return s.withoutSeed()
	case s.undecided != nil:
		return s.waiting(v1.ReasonAuthorizationUnknown, "Authorize", s.undecided, s.reviewAt)
	case !s.access.Allowed:
		return s.roleForbidden(later)
	case s.unmanaged != "":
		d := s.reject(v1.ReasonSecretNotManaged, s.unmanaged, later)
		d.eventAction = secretstore.ActionCreate
		return d
	}
	return s.write()
}

// unused keeps a Secret that no object asks for during the grace period, but no longer than pods
// can use its credentials.
func (s *state) unused() decision {
	if s.current == nil {
		return decision{action: actionNone, reason: reasonUnused}
	}
	at := renewal.Earlier(s.unusedSince.Add(s.grace), s.current.credentials.UsableUntil())
	if s.now.Before(at) {
		return decision{action: actionNone, reason: reasonUnused, requeueAt: at}
	}
	return decision{action: actionDelete, reason: reasonUnused, note: "no object asks for it", requeueAt: s.now.Add(rejectionRetry)}
}

// withoutSeed restores a deleted seed from memory. One that never existed is adopted when an
// operator creates it.
func (s *state) withoutSeed() decision {
	restore := decision{action: actionRepair, reason: secretstore.Restored}
	switch {
	case s.seedInMemory && s.failure != nil && s.failure.Reason == v1.ReasonGetCredentialsFailed: // STS is not needed for it
		return restore
	case s.seedInMemory:
		return s.unlessFailed(restore)
	}
	return decision{action: actionNone, eventAction: "Adopt", note: s.unadoptable, requeueAt: s.now.Add(credentials.CallerRetry)}
}

// waitingForIdentity changes nothing while the controller cannot tell which role is meant.
func (s *state) waitingForIdentity() decision {
	if s.seed { // its monitor warns
		return decision{action: actionNone, eventAction: credentials.CodeOf(s.unready), note: s.unready.Error(), requeueAt: s.now.Add(credentials.CallerRetry)}
	}
	later := s.now.Add(credentials.CallerRetry)
	if s.current != nil {
		later = s.now.Add(renewal.Hurry(unreadyRetry, s.current.left(s.now)))
	}
	return s.waiting(v1.ReasonGetCredentialsFailed, credentials.CodeOf(s.unready), s.unready, later)
}

// waiting issues nothing and deletes nothing while something is not known. It is a rejection,
// which has an event, once it matters: when credentials are missing or due.
func (s *state) waiting(reason, eventAction string, why error, at time.Time) decision {
	if s.current != nil && s.now.Before(s.due()) {
		return decision{action: actionNone, requeueAt: renewal.Earlier(s.due(), s.now.Add(rejectionRetry))}
	}
	d := s.reject(reason, why.Error(), at)
	d.eventAction = eventAction
	return d
}

// roleForbidden stops renewal, and deletes the Secret once the refusal is confirmed and it is its
// turn. Credentials of another role, which was asked for before, stay until they expire while that
// role is still allowed.
func (s *state) roleForbidden(later time.Time) decision {
	access := s.access
	access.Reason = cmp.Or(access.Reason, "no authorization mode allows the role")
	d := decision{action: actionReject, reason: v1.ReasonRoleForbidden, note: access.Message(), requeueAt: later}
	switch {
	case s.current == nil:
	case s.expired(), s.current.role != s.role && s.current.allowed:
		return s.reject(d.reason, d.note, d.requeueAt)
	case !s.confirmed:
		d.requeueAt = renewal.Earlier(s.reviewAt, s.beforeDeath(later))
	case s.now.Before(s.deleteAt):
		d.reason, d.eventAction = v1.ReasonRemovalDelayed, secretstore.ActionDelete
		d.note = events.Join(events.Delayed, access.Reason, d.note)
		d.requeueAt = renewal.Earlier(s.deleteAt, renewal.Earlier(s.reviewAt, s.beforeDeath(later)))
	default:
		d.action = actionDelete
	}
	return d
}

// write returns how a Secret whose role is allowed is written, if it must be now.
func (s *state) write() decision {
	switch {
	case s.current == nil:
		return s.unlessPaused(decision{action: actionIssue, reason: secretstore.New}, s.issueAt)
	case s.current.intact && s.now.Before(s.due()):
		return decision{action: actionNone, requeueAt: s.due()}
	case s.current.repairable && !s.current.dead(s.now) && s.now.Before(s.due()):
		return s.unlessPaused(decision{action: actionRepair, reason: secretstore.Repaired, since: s.now}, s.repairAt)
	case !s.current.intact:
		return s.unlessPaused(decision{action: actionIssue, reason: secretstore.Restored, since: s.now}, s.issueAt)
	default:
		return s.unlessPaused(decision{action: actionIssue, reason: secretstore.Refresh, since: s.due()}, s.issueAt)
	}
}

// unlessPaused returns a write, unless the Secret was written too often, or the last attempt
// failed. Failed attempts have pauses of their own.
func (s *state) unlessPaused(d decision, at time.Time) decision {
	if (s.failure == nil || s.failure.Transient()) && s.now.Before(at) {
		if s.expired() {
			return decision{action: actionDelete, reason: reasonExpired, note: "it was overwritten", requeueAt: at}
		}
		return decision{action: actionNone, reason: reasonPaused, requeueAt: s.beforeDeath(at)}
	}
	return s.unlessFailed(d)
}

// unlessFailed returns a write, unless the last attempt failed and it is not yet time for the next.
func (s *state) unlessFailed(d decision) decision {
	if s.failure != nil && !s.failure.Transient() && (s.expired() || s.now.Before(s.failure.RetryAt)) {
		d = s.reject(s.failure.Reason, s.failure.Note, s.failure.RetryAt)
		d.eventAction = s.failure.Action
	}
	return d
}

// reject leaves a Secret as it is until its credentials are dead, and then deletes it: a pod must
// not start on dead credentials.
func (s *state) reject(reason, note string, at time.Time) decision {
	if s.expired() {
		return decision{action: actionDelete, reason: reasonExpired, note: note, requeueAt: s.now.Add(rejectionRetry)}
	}
	return decision{action: actionReject, reason: reason, note: note, requeueAt: s.beforeDeath(at)}
}
