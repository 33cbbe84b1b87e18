package authorization

import (
	"context"
	"errors"
	"slices"
	"time"

	"kube-aws-iam-controller/pkg/role"
)

// Decisions are what was decided about one Secret, so that a pod which comes and goes costs no
// review. The zero value has none. A copy is a snapshot: no method changes it.
type Decisions []decided

type decided struct {
	Decision
	subject Subject
	role    role.ARN
	at      time.Time
}

// find returns the decision about a Subject and a role, and when it was made.
func (d Decisions) find(subject Subject, arn role.ARN) (decided, bool) {
	i := slices.IndexFunc(d, func(known decided) bool { return known.subject == subject && known.role == arn })
	if i < 0 {
		return decided{}, false
	}
	return d[i], true
}

// with returns the decisions with one more. Of each Subject they have those about the last two
// roles: the one that is asked for, and the one that the Secret holds.
func (d Decisions) with(next decided) Decisions {
	others := 0
	kept := make(Decisions, 0, len(d)+1)
	for _, known := range slices.Backward(d) {
		if known.subject == next.subject {
			if known.role == next.role || others > 0 {
				continue
			}
			others++
		}
		kept = append(kept, known)
	}
	slices.Reverse(kept)
	return append(kept, next)
}

// of returns the decisions about the subjects that ask for the Secret.
func (d Decisions) of(asks func(Subject) bool) Decisions {
	if !slices.ContainsFunc(d, func(known decided) bool { return !asks(known.subject) }) {
		return d
	}
	return slices.DeleteFunc(slices.Clone(d), func(known decided) bool { return !asks(known.subject) })
}

// Reviewer asks an Authorizer, unless the answer is known.
type Reviewer struct {
	// Authorizer decides.
	Authorizer Authorizer
	// Changes void what was decided before them.
	Changes *Changes
	// OnUndecided is called for each review that could not be decided.
	OnUndecided func()
	// Removals limits how many Secrets are deleted because their role is refused.
	Removals *Removals
	// DryRun allows what would be refused.
	DryRun bool
}

// question is what all reviews of one request have in common. Its times are those of Changes.
type question struct {
	// base is where roles lie that have a name beside their ARN.
	base role.Base
	now  time.Time
	// allowedSince and deniedSince are the times before which a remembered decision does not count.
	allowedSince, deniedSince time.Time
	// pause are subjects about whom no review could be decided lately: they are not asked about,
	// and pauseError is why.
	pause      []Subject
	pauseError error
}

// Review is what the reviews of some subjects said together. The zero value is that none was
// asked for.
type Review struct {
	// Decision is allowed if one of the subjects is.
	Decision Decision
	// Asked is when the first of the subjects was asked about, and askedLast when the last was.
	Asked, askedLast time.Time
	// Unknown is why it could not be decided, if no subject is allowed.
	Unknown error
	// Denied are the subjects that have no right, and why.
	Denied []Denial
	// paused are the subjects that were not asked about because of question.pause; failed are those
	// about whom nothing could be decided, and failedError is why.
	paused, failed []Subject
	failedError    error
	// decisions are those of the Secret afterwards.
	decisions Decisions
}

// Refused reports whether reviews were decided, and no subject is allowed.
func (r *Review) Refused() bool { return !r.Asked.IsZero() && r.Unknown == nil && !r.Decision.Allowed }

// Denial is the Decision about one Subject that has no right to a role.
type Denial struct {
	Decision
	Subject Subject
}

// review asks which of some subjects of a namespace have the right to a role. known are the
// decisions about the Secret.
func (r *Reviewer) review(ctx context.Context, q question, known Decisions, subjects []Subject, arn role.ARN) Review {
	r.Changes.Begin(q.now)
	answer := Review{Asked: q.now, decisions: known}
	var unknown []error
	for _, subject := range subjects {
		decision, asked, err := r.decide(ctx, q, subject, arn, &answer)
		if err != nil {
			unknown = append(unknown, err)
			continue
		}
		if decision.Allowed || !answer.Decision.Allowed {
			answer.Decision = decision
		}
		if asked.Before(answer.Asked) {
			answer.Asked = asked
		}
		if asked.After(answer.askedLast) {
			answer.askedLast = asked
		}
		if !decision.Allowed {
			answer.Denied = append(answer.Denied, Denial{decision, subject})
		}
	}
	if !answer.Decision.Allowed {
		answer.Unknown = errors.Join(unknown...)
	}
	return answer
}

// decide decides about one Subject, and notes in the answer what it finds out. asked is when the
// Authorizer was asked.
func (r *Reviewer) decide(ctx context.Context, q question, subject Subject, arn role.ARN, answer *Review) (decision Decision, asked time.Time, err error) {
	known, ok := answer.decisions.find(subject, arn)
	since := q.deniedSince
	if known.Allowed {
		since = q.allowedSince
	}
	if ok && !known.at.Before(since) && r.Changes.holds(subject.Namespace, known.at, q.now) {
		return known.Decision, known.at, nil
	}
	if slices.Contains(q.pause, subject) {
		answer.paused = append(answer.paused, subject)
		return Decision{}, q.now, q.pauseError
	}
	decision, err = r.Authorizer(ctx, Request{Subject: subject, Role: arn, Base: q.base})
	if err != nil {
		answer.failed, answer.failedError = append(answer.failed, subject), err
		r.OnUndecided()
		return Decision{}, q.now, err
	}
	answer.decisions = answer.decisions.with(decided{decision, subject, arn, q.now})
	return decision, q.now, nil
}
