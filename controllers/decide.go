package controllers

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/refresh"
)

// state is all that a decision about one Secret depends on. Its times are by the clock of STS.
type state struct {
	now time.Time
	// sure is false while now may be wrong by any amount, as STS did not say the time since the
	// machine's clock was set.
	sure bool
	// role is the ARN of the role that is asked for, as far as a review was asked who may have it.
	role string
	// wanted reports whether an object asks for the Secret; if not, unwantedSince is when the
	// last one went.
	wanted        bool
	unwantedSince time.Time
	// seed is true for the Secret of the controller's own credentials, which is kept while the
	// controller runs.
	seed bool
	// seedInMemory is true if the seed does not exist, and the controller still has good
	// credentials that were in it.
	seedInMemory bool
	// unadoptable is why the seed that is there is not taken.
	unadoptable string
	// invalid is why the role that is asked for can never be had.
	invalid error
	// unready is why the controller cannot say which role is meant, or assume any.
	unready error
	// undecided is why it is not known who may have the role, and askAt when it is asked again.
	undecided error
	verdict   policy.Verdict
	// confirmed is true if a refusal has been confirmed, so that it takes away what is there.
	// removeAt is when that may be deleted, as deletions for refusals are limited.
	confirmed bool
	removeAt  time.Time
	// askAt is when to ask again who may have the role, if that is not known or if a refusal is
	// to be confirmed.
	askAt time.Time
	// foreign is what to do about a Secret of this name that is not the controller's, if one was seen.
	foreign string
	// held is the controller's own Secret, if there is one.
	held *held
	// failure is how the last attempt went wrong, if it did and none succeeded since.
	failure *failure
	// issueAt and repairAt are when the Secret may be written again, with new credentials and
	// with its own; zero for now.
	issueAt, repairAt time.Time
	// recheck is when to ask anew who may have the role, if something has just changed.
	recheck time.Time
	// limit and grace are --refresh-limit and --unused-grace-period; spread is the Secret's own.
	limit, grace time.Duration
	spread       float64
}

// held is an existing Secret of the controller's own.
type held struct {
	secret *corev1.Secret
	// credentials are zero if the Secret does not hold any that can be read.
	credentials credentials.Credentials
	// role is the ARN of the role whose credentials they are, and allowed reports whether one
	// that is not asked for any longer may still be assumed.
	role    string
	allowed bool
	// ownRole is why the credentials must not be there: they are of the controller's own role.
	// inUse is true if the controller itself works with them.
	ownRole error
	inUse   bool
	// intact is false if the Secret is not what the controller would write for its target; it is
	// repairable if that can be written with the credentials that it holds.
	intact, repairable bool
}

func (h *held) life() refresh.Lifetime {
	return refresh.Lifetime{Issued: h.credentials.Issued, Expires: h.credentials.Expires}
}

// deleting reports whether the Secret was deleted, and only a finalizer holds it.
func (h *held) deleting() bool { return h.secret != nil && h.secret.DeletionTimestamp != nil }

// dead reports whether a pod that starts now could not use the credentials.
func (h *held) dead(now time.Time) bool { return h.left(now) == 0 }

// left returns how long a pod can use the credentials; 0 if there are none.
func (h *held) left(now time.Time) time.Duration {
	if h == nil {
		return 0
	}
	return max(0, h.credentials.UsableUntil().Sub(now))
}

// left returns how long what is held is of use: to pods, or if it is the seed, to the controller,
// until the very end.
func (s state) left(now time.Time) time.Duration {
	if s.seed && s.held != nil {
		return max(0, s.held.credentials.Expires.Sub(now))
	}
	return s.held.left(now)
}

// verb is what to do about a Secret.
type verb int

// The zero value gives nothing to anybody.
const (
	// refuse gives no new credentials. A Secret that is there stays, and serves while its
	// credentials do.
	refuse verb = iota
	// keep leaves everything as it is: the Secret that is there, or the one that is not.
	keep
	// issue gets credentials and writes them.
	issue
	// repair writes the Secret again with the credentials that it holds, or the seed with those
	// in memory.
	repair
	// remove deletes the Secret.
	remove
)

// decision is what to do now and when to look again.
type decision struct {
	verb verb
	// reason is one word: of an event for a refusal, of a log line and a metric for the rest.
	reason string
	// action is what was tried, for the event of a refusal: it keeps causes apart that have the same reason.
	action string
	// note tells the user why, and what to do; for refusals, and where the seed is not renewed.
	note string
	// at is when to look again at the latest; zero if there is nothing left to look at.
	at time.Time
	// since is when issuing became necessary, if it is due for renewal.
	since time.Time
}

// Reasons of decisions that are not reasons of events.
const (
	reasonNew      = "new"
	reasonRefresh  = "refresh"
	reasonRestored = "restored"
	reasonRepaired = "repaired"
	reasonPaused   = "paused"
	reasonUnused   = "unused"
	reasonExpired  = "expired"
)

// refusedRetry is when to look again at what was refused for a cause that raises no event in the cluster.
const refusedRetry = time.Minute

// unreadyRetry is when to look again at what is due while the controller has no AWS identity:
// there may be thousands. See hurried.
const unreadyRetry = 10 * time.Second

// decide is the whole judgement over one Secret.
func decide(s state) decision {
	d := s.judge()
	if d.verb == remove {
		d = s.unlessKept(d)
	}
	if !s.recheck.IsZero() && !d.at.IsZero() {
		d.at = earlier(d.at, s.recheck)
	}
	return d
}

// unlessKept is a deletion, unless the Secret must stay, is being deleted already, or could not
// be deleted a moment ago.
func (s state) unlessKept(d decision) decision {
	switch {
	case s.seed || s.held.inUse: // without it the controller's own pod could not start any more
		d.verb = refuse
		return d
	case s.held.deleting():
		return decision{verb: keep, reason: d.reason, at: s.now.Add(refusedRetry)}
	case s.failure != nil && s.failure.action == actionDelete && s.now.Before(s.failure.until):
		return decision{verb: refuse, reason: s.failure.reason, action: actionDelete, note: s.failure.note, at: s.failure.until}
	default:
		return d
	}
}

// judge reads top to bottom: the first thing that applies decides.
func (s state) judge() decision {
	later := s.now.Add(refusedRetry)
	switch {
	case s.holdsOwnRole():
		return decision{verb: remove, reason: ReasonInvalidRole, note: s.held.ownRole.Error(), at: later}
	case !s.wanted:
		return s.unwanted()
	case s.invalid != nil:
		return s.refusal(ReasonInvalidRole, s.invalid.Error(), later)
	case s.unready != nil:
		return s.waitingForIdentity()
	case s.seed && s.held == nil:
		return s.withoutSeed()
	case s.undecided != nil:
		return s.waiting(ReasonAuthorizationUnknown, "Authorize", s.undecided, s.askAt)
	case !s.verdict.Allowed:
		return s.forbidden(later)
	case s.foreign != "":
		d := s.refusal(ReasonSecretNotManaged, s.foreign, later)
		d.action = actionCreate
		return d
	}
	return s.need()
}

// holdsOwnRole reports whether a Secret that is not the seed holds credentials of the
// controller's own role.
func (s state) holdsOwnRole() bool { return s.held != nil && s.held.ownRole != nil && !s.seed }

// unwanted keeps a Secret that no object asks for during the grace period, but never until its
// credentials die.
func (s state) unwanted() decision {
	if s.held == nil {
		return decision{verb: keep, reason: reasonUnused}
	}
	at := earlier(s.unwantedSince.Add(s.grace), s.held.credentials.UsableUntil())
	if s.now.Before(at) {
		return decision{verb: keep, reason: reasonUnused, at: at}
	}
	return decision{verb: remove, reason: reasonUnused, note: "no object asks for it", at: s.now.Add(refusedRetry)}
}

// withoutSeed writes a seed again that was deleted, from memory. One that was never there is
// taken when an operator puts it in place, and not made.
func (s state) withoutSeed() decision {
	restore := decision{verb: repair, reason: reasonRestored}
	switch {
	case s.seedInMemory && s.failure != nil && s.failure.reason == ReasonGetCredentialsFailed: // STS is not needed for it
		return restore
	case s.seedInMemory:
		return s.unlessFailed(restore)
	}
	return decision{verb: keep, action: "Adopt", note: s.unadoptable, at: s.now.Add(credentials.CallerRetry)}
}

// waitingForIdentity leaves everything as it is while the controller cannot say which role is
// meant.
func (s state) waitingForIdentity() decision {
	if s.seed { // its guard tells
		return decision{verb: keep, action: codeOf(s.unready), note: s.unready.Error(), at: s.now.Add(credentials.CallerRetry)}
	}
	later := s.now.Add(credentials.CallerRetry)
	if s.held != nil {
		later = s.now.Add(hurried(unreadyRetry, s.held.left(s.now)))
	}
	return s.waiting(ReasonGetCredentialsFailed, codeOf(s.unready), s.unready, later)
}

// waiting issues nothing and takes nothing away while something is not known. There
// is an event when it matters: when something is missing, or due.
func (s state) waiting(reason, action string, why error, at time.Time) decision {
	if s.held != nil && s.now.Before(s.due()) {
		return decision{verb: keep, at: earlier(s.due(), s.now.Add(refusedRetry))}
	}
	d := s.refusal(reason, why.Error(), at)
	d.action = action
	return d
}

// forbidden stops renewal, and takes away what is there when the refusal is confirmed, and
// deletions are not too many. Credentials of another role, which was asked for before, serve
// until they expire if that may still be assumed.
func (s state) forbidden(later time.Time) decision {
	d := decision{verb: refuse, reason: ReasonRoleForbidden, note: s.verdict.Reason, at: later}
	if d.note == "" {
		d.note = "no authorization mode allows the role"
	}
	switch {
	case s.held == nil:
	case s.expired(), s.held.role != s.role && s.held.allowed:
		return s.refusal(d.reason, d.note, d.at)
	case !s.confirmed:
		d.at = earlier(s.askAt, s.lookBeforeDeath(later))
	case s.now.Before(s.removeAt):
		d.reason, d.action = ReasonRemovalDelayed, "Delete"
		d.note = joinNote("The Secret is no longer renewed and will be deleted when its turn comes, as deletions for refused roles are limited in the whole cluster: ", d.note)
		d.at = earlier(s.removeAt, earlier(s.askAt, s.lookBeforeDeath(later)))
	default:
		d.verb = remove
	}
	return d
}

// lookBeforeDeath returns when the credentials die if that is before a time.
func (s state) lookBeforeDeath(at time.Time) time.Time {
	if s.held != nil && !s.seed && !s.held.dead(s.now) {
		return earlier(at, s.held.credentials.UsableUntil())
	}
	return at
}

// need says whether a Secret that is asked for is good for now, or why it must be written; but
// not before the time of the next attempt.
func (s state) need() decision {
	switch {
	case s.held == nil:
		return s.unlessPaused(decision{verb: issue, reason: reasonNew}, s.issueAt)
	case s.held.intact && s.now.Before(s.due()):
		return decision{verb: keep, at: s.due()}
	case s.held.repairable && !s.held.dead(s.now) && s.now.Before(s.due()):
		return s.unlessPaused(decision{verb: repair, reason: reasonRepaired, since: s.now}, s.repairAt)
	case !s.held.intact:
		return s.unlessPaused(decision{verb: issue, reason: reasonRestored, since: s.now}, s.issueAt)
	default:
		return s.unlessPaused(decision{verb: issue, reason: reasonRefresh, since: s.due()}, s.issueAt)
	}
}

// unlessPaused is a write, unless the Secret was written too often, or the last attempt failed.
// Attempts at the same that fail have pauses of their own.
func (s state) unlessPaused(d decision, at time.Time) decision {
	if (s.failure == nil || s.failure.transient()) && s.now.Before(at) {
		if s.expired() {
			return decision{verb: remove, reason: reasonExpired, note: "it was overwritten", at: at}
		}
		return decision{verb: keep, reason: reasonPaused, at: s.lookBeforeDeath(at)}
	}
	return s.unlessFailed(d)
}

// unlessFailed is a write, unless the last attempt failed and it is not yet time for the next.
func (s state) unlessFailed(d decision) decision {
	if s.failure != nil && !s.failure.transient() && (s.expired() || s.now.Before(s.failure.until)) {
		d = s.refusal(s.failure.reason, s.failure.note, s.failure.until)
		d.action = s.failure.action
	}
	return d
}

// due returns when the credentials that are there are to be renewed.
func (s state) due() time.Time { return s.held.life().Due(s.limit, s.spread) }

// expired reports whether a Secret holds nothing that a pod could use, for sure. A seed is good
// enough to renew itself until the very end.
func (s state) expired() bool {
	return s.held != nil && !s.seed && s.held.dead(s.now) && (s.sure || s.held.credentials.Expires.IsZero())
}

// refusal leaves a Secret as it is until its credentials are dead, and then removes it: a pod must not start on dead credentials.
func (s state) refusal(reason, note string, at time.Time) decision {
	if s.expired() {
		return decision{verb: remove, reason: reasonExpired, note: note, at: s.now.Add(refusedRetry)}
	}
	return decision{verb: refuse, reason: reason, note: note, at: s.lookBeforeDeath(at)}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// String is for messages of tests and logs.
func (v verb) String() string {
	switch v {
	case refuse:
		return "refuse"
	case keep:
		return "keep"
	case issue:
		return "issue"
	case repair:
		return "repair"
	case remove:
		return "remove"
	}
	return fmt.Sprintf("verb %d", int(v))
}
