package controllers

import (
	"context"
	"errors"
	"slices"
	"time"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// review is what the authorizers said of a claim. The zero value is that none was asked.
type review struct {
	verdict policy.Verdict
	// asked is when they were asked about the first of the subjects, and askedLast about the last
	// one, by the machine's clock: some answers are remembered.
	asked, askedLast time.Time
	// unknown is why that could not be decided, if none allowed.
	unknown error
}

// question is what all reviews of one claim have in common. Its times are the machine's.
type question struct {
	g    *gathered
	base role.Base
	now  time.Time
	// allowedSince and refusedSince are the times before which a remembered answer does not count.
	allowedSince, refusedSince time.Time
	// paused are the subjects of which no review could be decided lately, and which are not asked
	// about now; failed are those of which none could be decided now, and failedBy is why.
	paused, failed []policy.Subject
	failedBy       error
}

// question returns the one about a claim. Right before an issue all are asked anew who may have
// the role. A refusal is asked about again from time to time: each minute, and when it would take
// something away.
func (g *gathered) question(c *claim, now time.Time) *question {
	ask := &question{g: g, base: c.base, now: now, refusedSince: now.Add(-askAgain)}
	if !g.target.Session.Role.IsZero() && g.need().verb == issue {
		ask.allowedSince = now
	}
	for _, known := range append(g.known.refusals[:], g.known.heldRefusal) {
		if g.held != nil && !known.first.IsZero() && !now.Before(known.next()) {
			ask.refusedSince = now
		}
	}
	return ask
}

// review asks who of some subjects may have a role, and calls refused for those that may not. It
// is allowed if one may; if none may, and of one that is not known, it is not known.
func (r *reconciler) review(ctx context.Context, ask *question, subjects []subjectWants, arn role.ARN, refused func(policy.Verdict, []want)) (answer review) {
	var unknown []error
	answer.asked = ask.now
	for _, s := range subjects {
		verdict, asked, err := r.reviewOne(ctx, ask, s.subject, arn)
		if err != nil {
			unknown = append(unknown, err)
			continue
		}
		if verdict.Allowed || !answer.verdict.Allowed {
			answer.verdict = verdict
		}
		if asked.Before(answer.asked) {
			answer.asked = asked
		}
		if asked.After(answer.askedLast) {
			answer.askedLast = asked
		}
		if !verdict.Allowed {
			refused(verdict, s.wants)
		}
	}
	if !answer.verdict.Allowed {
		answer.unknown = errors.Join(unknown...)
	}
	return answer
}

// reviewOne asks whether one subject may have a role, unless that is known. Where its last review
// could not be decided it waits before it asks again.
func (r *reconciler) reviewOne(ctx context.Context, ask *question, subject policy.Subject, arn role.ARN) (verdict policy.Verdict, asked time.Time, err error) {
	verdict, asked, known := r.verdicts.get(ask.g.name, subject, arn, ask.now)
	since := ask.refusedSince
	if verdict.Allowed {
		since = ask.allowedSince
	}
	if known && !asked.Before(since) {
		return verdict, asked, nil
	}
	if last := ask.g.known.undecided; last != nil && ask.now.Before(last.at) && slices.Contains(last.of, subject) {
		ask.paused = append(ask.paused, subject)
		return policy.Verdict{}, ask.now, last.err
	}
	verdict, err = r.authorizer(ctx, policy.Request{Subject: subject, Role: arn, Base: ask.base})
	if err != nil {
		ask.failed, ask.failedBy = append(ask.failed, subject), err
		r.metrics.ReviewUndecided()
		return policy.Verdict{}, ask.now, err
	}
	r.verdicts.put(ask.g.name, subject, arn, verdict, ask.now)
	return verdict, ask.now, nil
}
