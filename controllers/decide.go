package controllers

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/refresh"
)

// state is all that a decision about one Secret depends on.
type state struct {
	now time.Time
	// sure is false as long as now may be wrong by any amount, as STS did not tell the time since somebody set the machine's clock.
	sure bool
	// role is the ARN of the role that is wanted, as far as it was asked who may have it.
	role string
	// wanted tells whether a live pod wants the Secret; if not, unwantedSince is when the last one went.
	wanted        bool
	unwantedSince time.Time
	// seed is true for the Secret of the controller's own credentials, which is wanted as long as the controller runs and never removed.
	seed bool
	// unadoptable is why the seed that is there is not taken.
	unadoptable string
	// invalid is why the role that is asked for can never be had.
	invalid error
	// unready is why the controller cannot tell which role is meant, or assume any.
	unready error
	verdict policy.Verdict
	// foreign is what to do about a Secret of this name that is not the controller's, if one was seen.
	foreign string
	// held is the controller's own Secret, if there is one.
	held *held
	// failure is how the last attempt went wrong, if it did and none succeeded since.
	failure *failure
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
	// role is the ARN of the role whose credentials they are.
	role string
	// intact is false if the Secret is not what the controller would write for its target.
	intact bool
}

func (h *held) life() refresh.Lifetime {
	return refresh.Lifetime{Issued: h.credentials.Issued, Expires: h.credentials.Expires}
}

// dead tells whether a pod that starts now could not use the credentials.
func (h *held) dead(now time.Time) bool { return h.left(now) == 0 }

// left is how long a pod can use the credentials; 0 if there are none.
func (h *held) left(now time.Time) time.Duration {
	if h == nil {
		return 0
	}
	return max(0, h.credentials.UsableUntil().Sub(now))
}

// left is how long what is held is of use: to pods, or if it is the seed, to the controller, until the very end.
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
	// refuse gives no new credentials. A Secret that is there stays, and serves as long as its credentials do.
	refuse verb = iota
	// keep leaves everything as it is: the Secret that is there, or the one that is not.
	keep
	// issue gets credentials and writes them.
	issue
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
	reasonUnused   = "unused"
	reasonExpired  = "expired"
)

// refusedRetry is when to look again at what was refused for a cause that raises no event in the cluster.
const refusedRetry = time.Minute

// unreadyRetry is when to look again at what is due while the controller has no AWS identity, or cannot ask who may have a role: there may be thousands. See
// hurried.
const unreadyRetry = 10 * time.Second

// decide is the whole judgement over one Secret.
func decide(s state) decision {
	d := s.judge()
	if d.verb == remove && s.seed { // without it the controller's own pod could not start any more
		d.verb = refuse
	}
	if d.verb == remove && s.failure != nil && s.failure.action == actionDelete && s.now.Before(s.failure.until) {
		return decision{verb: refuse, reason: s.failure.reason, action: actionDelete, note: s.failure.note, at: s.failure.until}
	}
	if !s.recheck.IsZero() && !d.at.IsZero() {
		d.at = earlier(d.at, s.recheck)
	}
	return d
}

// judge reads top to bottom: the first thing that applies decides.
func (s state) judge() decision {
	later := s.now.Add(refusedRetry)
	switch {
	case !s.wanted:
		return s.unwanted()
	case s.invalid != nil:
		return s.refusal(ReasonInvalidRole, s.invalid.Error(), later)
	case s.unready != nil:
		return s.waiting()
	case s.seed && s.held == nil: // what somebody puts there is taken, not made
		return decision{verb: keep, action: "Adopt", note: s.unadoptable, at: s.now.Add(credentials.CallerRetry)}
	case !s.verdict.Allowed:
		return s.forbidden(later)
	case s.foreign != "":
		return s.refusal(ReasonSecretNotManaged, s.foreign, later)
	}
	return s.need()
}

// unwanted keeps a Secret that nobody wants for the grace period, but never until its credentials die.
func (s state) unwanted() decision {
	if s.held == nil {
		return decision{verb: keep, reason: reasonUnused}
	}
	at := earlier(s.unwantedSince.Add(s.grace), s.held.credentials.UsableUntil())
	if s.now.Before(at) {
		return decision{verb: keep, reason: reasonUnused, at: at}
	}
	return decision{verb: remove, reason: reasonUnused, at: s.now.Add(refusedRetry)}
}

// waiting leaves everything as it is while the controller cannot tell which role is meant. Nobody is told before it matters.
func (s state) waiting() decision {
	if s.seed { // its guard tells
		return decision{verb: keep, action: codeOf(s.unready), note: s.unready.Error(), at: s.now.Add(credentials.CallerRetry)}
	}
	if s.held != nil && s.now.Before(s.due()) {
		return decision{verb: keep, at: earlier(s.due(), s.now.Add(refusedRetry))}
	}
	later := s.now.Add(credentials.CallerRetry)
	if s.held != nil {
		later = s.now.Add(hurried(unreadyRetry, s.held.left(s.now)))
	}
	d := s.refusal(ReasonGetCredentialsFailed, s.unready.Error(), later)
	d.action = codeOf(s.unready)
	return d
}

// forbidden takes away at once what may not be had any longer. Credentials of another role, which was wanted before, serve until they expire: else who asks
// for what he may not have could take from others what they may.
func (s state) forbidden(later time.Time) decision {
	d := decision{verb: refuse, reason: ReasonRoleForbidden, note: s.verdict.Reason, at: later}
	if d.note == "" {
		d.note = "no authorization mode allows the role"
	}
	switch {
	case s.held != nil && s.held.role == s.role:
		d.verb = remove
	case s.held != nil:
		return s.refusal(d.reason, d.note, d.at)
	}
	return d
}

// need tells whether a wanted Secret is good for now, or why credentials must be issued; but not before the time of the next attempt.
func (s state) need() decision {
	d := decision{verb: issue}
	switch {
	case s.held == nil:
		d.reason = reasonNew
	case !s.held.intact:
		d.reason, d.since = reasonRestored, s.now
	case s.now.Before(s.due()):
		return decision{verb: keep, at: s.due()}
	default:
		d.reason, d.since = reasonRefresh, s.due()
	}
	if s.failure != nil && !s.failure.transient() && (s.expired() || s.now.Before(s.failure.until)) {
		d = s.refusal(s.failure.reason, s.failure.note, s.failure.until)
		d.action = s.failure.action
	}
	return d
}

// due is when the credentials that are there are to be renewed.
func (s state) due() time.Time { return s.held.life().Due(s.limit, s.spread) }

// expired tells whether a Secret holds nothing that a pod could use, for sure. A seed is good enough to renew itself until the very end.
func (s state) expired() bool {
	return s.held != nil && !s.seed && s.held.dead(s.now) && (s.sure || s.held.credentials.Expires.IsZero())
}

// refusal leaves a Secret as it is until its credentials are dead, and then removes it: a pod must not start on dead credentials.
func (s state) refusal(reason, note string, at time.Time) decision {
	switch {
	case s.expired():
		return decision{verb: remove, reason: reasonExpired, note: note, at: s.now.Add(refusedRetry)}
	case s.held != nil && !s.seed && !s.held.dead(s.now):
		at = earlier(at, s.held.credentials.UsableUntil())
	}
	return decision{verb: refuse, reason: reason, note: note, at: at}
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
	case remove:
		return "remove"
	}
	return fmt.Sprintf("verb %d", int(v))
}
