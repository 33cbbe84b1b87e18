package authorization

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/role"
)

// Kind is who makes a Claim. What is refused to one kind says nothing about the other.
type Kind int

// Pods ask by the name of the Secret that they mount, an AWSIAMRole asks for the Secret of its
// name, and a ServiceAccount for its pods.
const (
	ByPods Kind = iota
	ByAWSIAMRole
	ByServiceAccount
	kinds // how many there are
)

func (k Kind) String() string { return [...]string{"pods", "AWSIAMRole", "ServiceAccount"}[k] }

// Claim is a request of some subjects for a role and a Secret. One of them that has the right is
// enough.
type Claim struct {
	Kind     Kind
	Subjects []Subject
	// Role is what is asked for, and Base is where roles lie that have a name beside their ARN.
	Role role.ARN
	Base role.Base
	// Exists is true if the Secret exists, and Current is the ARN of the role that it holds then.
	Exists  bool
	Current string
	// Issue is true if credentials are issued now if the role is allowed: all is asked for again.
	Issue bool
}

// Ruling is what the reviews of a Claim said.
type Ruling struct {
	Review
	// DryRun is true if no one is refused, and WouldRefuse is why the role would be otherwise.
	DryRun      bool
	WouldRefuse string
	// CurrentAllowed is true if the role of the Claim is refused, and a subject has the right to
	// the role that the Secret holds, or that is not known: a claim to what is refused does not
	// take away what is allowed.
	CurrentAllowed bool
	// ClaimConfirmed is true if the refusal of the Claim's role is confirmed. Confirmed is true if
	// the refusal of the role that the Secret holds is; without a Secret it is ClaimConfirmed. Only
	// a confirmed refusal takes anything away.
	ClaimConfirmed, Confirmed bool
	// ReviewAt is when to ask again to confirm a refusal, and RecheckAt because of a recent change;
	// zero for never. They are times of Changes.
	ReviewAt, RecheckAt time.Time
}

// History is what is remembered of the reviews for one Secret. Its times are those of Changes. The
// zero value remembers nothing. A copy is a snapshot.
type History struct {
	decisions Decisions
	// allowed is when a review last allowed the role that decided.
	allowed time.Time
	// refusals are what reviews said since; nil if none refused anything, as for most Secrets.
	refusals *refusals
	// undecided is why the last review could not be decided, if none was decided since.
	undecided *undecidedReviews
}

// refusals are what reviews for one Secret refused.
type refusals struct {
	// byKind are refusals of the role that is asked for, by the kind of Claim. current is that of
	// the role that the Secret holds while another is asked for.
	byKind  [kinds]Refusal
	current Refusal
}

// undecidedReviews says that reviews of some subjects could not be decided.
type undecidedReviews struct {
	subjects []Subject
	err      error
	retryAt  time.Time
	backoff  renewal.Backoff
}

// after returns what is remembered of one more review that could not be decided.
func (u *undecidedReviews) after(secret string, now time.Time, left time.Duration, subjects []Subject, err error) *undecidedReviews {
	next := &undecidedReviews{subjects: subjects, err: err}
	var before renewal.Backoff
	if u != nil {
		before = u.backoff
	}
	next.retryAt, _ = before.After(secret, now, left)
	_, next.backoff = before.After(secret, now, 0) // shortened pauses count like all others
	return next
}

// changed returns when something changed last that a refusal can depend on; zero if nothing did
// since a review allowed the role. That review can have been answered as before a change that was
// observed already.
func (h *History) changed(c *Changes, namespace string) time.Time {
	since := h.allowed
	if !since.IsZero() {
		since = since.Add(-PropagationDelay)
	}
	return c.Since(namespace, since)
}

// Len returns how many decisions are remembered.
func (h *History) Len() int { return len(h.decisions) }

// refused returns a copy of the refusals.
func (h *History) refused() (all refusals) {
	if h.refusals != nil {
		all = *h.refusals
	}
	return all
}

// isDue reports whether one of them is to be asked about again.
func (r *refusals) isDue(now time.Time) bool {
	return r.current.IsDue(now) || slices.ContainsFunc(r.byKind[:], func(r Refusal) bool { return r.IsDue(now) })
}

// Round is the reviews of one reconcile of a Secret.
type Round struct {
	reviewer *Reviewer
	secret   types.NamespacedName
	now      time.Time
	// known is what was remembered before, and next what is remembered after them.
	known, next History
	// knownRefusals and refusals are the same of refusals.
	knownRefusals, refusals refusals
	// paused and failed are the subjects about whom nothing could be decided, lately and now.
	paused, failed []Subject
	err            error
}

// Begin returns the Round of a Secret, of which history is remembered.
func (r *Reviewer) Begin(secret types.NamespacedName, history History, now time.Time) *Round {
	refused := history.refused()
	return &Round{reviewer: r, secret: secret, now: now, known: history, next: history, knownRefusals: refused, refusals: refused}
}

// Rule finds out whether a Claim is allowed.
func (v *Round) Rule(ctx context.Context, c *Claim) Ruling {
	q := v.question(c)
	r := Ruling{DryRun: v.reviewer.DryRun, Review: v.review(ctx, q, c.Subjects, c.Role)}
	v.refusals.current = Refusal{} // unless it is refused in this round
	switch {
	case r.Decision.Allowed:
	case v.reviewer.DryRun:
		r.WouldRefuse = r.Decision.Message()
		r.Decision.Allowed, r.Unknown = true, nil
	case r.Unknown != nil:
		v.refusals.current = v.knownRefusals.current.Undecided()
	default:
		v.ruleCurrent(ctx, q, c, &r)
	}
	r.RecheckAt = v.reviewer.Changes.Recheck(v.secret.Namespace, renewal.Fraction(v.secret.String()), r.Decision.Allowed, v.now)
	v.confirm(c, &r)
	return r
}

// question returns what all reviews of a Claim have in common. A refusal is asked about again each
// minute, and when it would delete something.
func (v *Round) question(c *Claim) question {
	q := question{base: c.Base, now: v.now, deniedSince: v.now.Add(-RepeatInterval)}
	if c.Issue {
		q.allowedSince = v.now
	}
	if c.Exists && v.knownRefusals.isDue(v.now) {
		q.deniedSince = v.now
	}
	if last := v.known.undecided; last != nil && v.now.Before(last.retryAt) {
		q.pause, q.pauseError = last.subjects, last.err
	}
	return q
}

// review asks which of some subjects have the right to a role.
func (v *Round) review(ctx context.Context, q question, subjects []Subject, arn role.ARN) Review {
	answer := v.reviewer.review(ctx, q, v.next.decisions, subjects, arn)
	v.next.decisions = answer.decisions
	v.paused, v.failed = append(v.paused, answer.paused...), append(v.failed, answer.failed...)
	v.err = cmp.Or(answer.failedError, v.err)
	return answer
}

// ruleCurrent finds out whether those that have no right to the role that they ask for still have
// one to the role that the Secret holds.
func (v *Round) ruleCurrent(ctx context.Context, q question, c *Claim, r *Ruling) {
	current, err := role.ParseARN(c.Current)
	if err != nil || current == c.Role { // an error also if the Secret does not exist
		return
	}
	answer := v.review(ctx, q, c.Subjects, current)
	switch {
	case answer.Decision.Allowed:
		r.CurrentAllowed = true
	case answer.Unknown != nil:
		r.CurrentAllowed, v.refusals.current = true, v.knownRefusals.current.Undecided()
	default:
		changed := v.known.changed(v.reviewer.Changes, v.secret.Namespace)
		v.refusals.current = v.knownRefusals.current.Refused(c.Kind.String()+" "+c.Current, answer.askedLast, answer.Asked, changed)
	}
}

// confirm finds out whether a refusal is confirmed, and when to ask for the next review.
func (v *Round) confirm(c *Claim, r *Ruling) {
	refusal := v.refusalAfter(c, r)
	v.refusals.byKind[c.Kind] = refusal
	r.ClaimConfirmed = refusal.Confirmed()
	switch {
	case !r.Refused():
	case r.CurrentAllowed:
	case c.Exists && c.Current != c.Role.String():
		r.Confirmed, r.ReviewAt = v.refusals.current.Confirmed(), renewal.Earlier(refusal.Next(), v.refusals.current.Next())
	default:
		r.Confirmed, r.ReviewAt = r.ClaimConfirmed, refusal.Next()
	}
}

// refusalAfter returns the refusal that is remembered after the review of a Claim.
func (v *Round) refusalAfter(c *Claim, r *Ruling) Refusal {
	known := v.knownRefusals.byKind[c.Kind]
	switch {
	case r.Decision.Allowed:
		return Refusal{}
	case r.Unknown != nil:
		return known.Undecided()
	default:
		return known.Refused(c.Role.String(), r.askedLast, r.Asked, v.known.changed(v.reviewer.Changes, v.secret.Namespace))
	}
}

// End returns what is remembered after all reviews. decided is that of the Claim that decides over
// the Secret, asks reports whether a subject asks for the Secret, and left is for how long pods can
// use its credentials. retryAt is when to ask again what could not be decided, or zero.
func (v *Round) End(decided *Review, asks func(Subject) bool, left time.Duration) (next History, retryAt time.Time) {
	next = v.next
	next.decisions = next.decisions.of(asks)
	next.refusals = nil
	if v.refusals != (refusals{}) {
		all := v.refusals
		next.refusals = &all
	}
	if decided.Decision.Allowed {
		next.allowed = decided.Asked
	}
	switch {
	case len(v.failed) > 0:
		next.undecided = v.known.undecided.after(v.secret.String(), v.now, left, slices.Concat(v.failed, v.paused), v.err)
	case len(v.paused) == 0:
		next.undecided = nil
	}
	if decided.Unknown != nil && next.undecided != nil {
		retryAt = next.undecided.retryAt
	}
	return next, retryAt
}
