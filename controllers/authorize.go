package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// authorizers makes the Authorizer of the modes. Annotations of Namespaces come from the cache, everything else is asked of the API server.
func authorizers(modes []string, reviews authorizationclient.SubjectAccessReviewInterface, cached client.Reader) policy.Authorizer {
	all := map[string]policy.Authorizer{
		policy.ModeAlwaysAllow: policy.AlwaysAllow,
		policy.ModeRBAC: policy.RBAC(func(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
			answer, err := reviews.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
			if err != nil {
				return authorizationv1.SubjectAccessReviewStatus{}, err
			}
			return answer.Status, nil
		}),
		policy.ModeNamespace: policy.Namespace(func(ctx context.Context, namespace string) (map[string]string, error) {
			meta := metadataOf(corev1.SchemeGroupVersion.WithKind("Namespace"))
			err := cached.Get(ctx, types.NamespacedName{Name: namespace}, meta)
			return meta.Annotations, err
		}),
	}
	var chosen []policy.Authorizer
	for _, mode := range modes {
		chosen = append(chosen, all[mode])
	}
	return policy.Union(chosen...)
}

// authorize finds out who of those that make a claim may have its role. One that may is enough to issue.
func (r *reconciler) authorize(ctx context.Context, g *gathered, c *claim) {
	if g.seed { // it is the controller's own role, see resolveRole
		c.verdict = policy.Verdict{Allowed: true, Reason: "it is the controller's own role"}
		return
	}
	now := r.machine.Now() // before any review
	ask := question{g: g, base: c.base, now: now, notBefore: g.reviewNotBefore(now)}
	c.dryRun = r.settings.DryRunAuthorization
	c.review = r.review(ctx, &ask, g.subjects(c), c.arn, func(verdict policy.Verdict, wants []want) {
		c.refuse(verdict.Reason, wants)
	})
	switch {
	case c.verdict.Allowed:
	case c.dryRun:
		c.wouldRefuse = cmp.Or(c.verdict.Reason, fmt.Sprint(c.unknown))
		c.verdict.Allowed, c.unknown = true, nil
	case c.unknown == nil:
		r.authorizeHeld(ctx, &ask, c)
	}
	if settled := r.verdicts.settled(g.name.Namespace, c.verdict.Allowed, now); !settled.IsZero() {
		g.recheck = r.bySTS(settled)
	}
	r.gatherReview(&ask, c)
}

// authorizeHeld finds out whether who may not have the role that is asked for may still have the one that the Secret
// holds: a claim to what it may not have does not prolong what it had.
func (r *reconciler) authorizeHeld(ctx context.Context, ask *question, c *claim) {
	g := ask.g
	if g.held == nil || g.held.role == c.arn.String() {
		return
	}
	before, err := role.ParseARN(g.held.role)
	if err != nil {
		return
	}
	answer := r.review(ctx, ask, g.subjects(c), before, func(policy.Verdict, []want) {})
	g.held.allowed = answer.verdict.Allowed || answer.unknown != nil
}

// gatherReview takes over what follows from a review: whether a refusal is confirmed, and when to ask again.
func (r *reconciler) gatherReview(ask *question, c *claim) {
	g := ask.g
	g.refusal, g.nextUndecided = g.afterReview(r, c), nil
	g.confirmed, g.askAt = false, time.Time{}
	switch {
	case c.unknown != nil:
		g.nextUndecided = g.known.undecided
		if ask.failed != nil {
			g.nextUndecided = afterUndecided(g.name, g.known.undecided, ask.now, g.held.left(g.now), ask.failed)
		}
		g.askAt = r.bySTS(g.nextUndecided.at)
	case c.refusedRole():
		g.confirmed, g.askAt = g.refusal.confirmed(), r.bySTS(g.refusal.next())
	}
}

// afterReview returns the refusal that is remembered after the review of a claim.
func (g *gathered) afterReview(r *reconciler, c *claim) refusal {
	switch {
	case c.verdict.Allowed:
		return refusal{}
	case !c.refusedRole():
		return g.known.refusal
	default:
		return g.known.refusal.refused(c.askedLast, c.asked, r.verdicts.changedSince(g.name.Namespace, g.known.allowedSurely()))
	}
}

// reviewNotBefore returns the time before which no review counts any more: a refusal that would take something away is
// asked about again from time to time.
func (g *gathered) reviewNotBefore(now time.Time) time.Time {
	if known := g.known.refusal; g.held != nil && !known.first.IsZero() && !now.Before(known.next()) {
		return now
	}
	return time.Time{}
}

// question is what all reviews of one reconcile have in common.
type question struct {
	g    *gathered
	base role.Base
	// now is when it is asked, and notBefore the time before which no remembered answer counts, both by the machine's clock.
	now, notBefore time.Time
	// failed is the error of the last review that was asked now and could not be decided.
	failed error
}

// review asks who of some subjects may have a role, and calls refused for those that may not. It is allowed if one may;
// if none may, and of one that is not known, it is not known.
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

// reviewOne asks whether one subject may have a role, unless that is known. Where the last review could not be decided it
// waits before it asks again.
func (r *reconciler) reviewOne(ctx context.Context, ask *question, subject policy.Subject, arn role.ARN) (verdict policy.Verdict, asked time.Time, err error) {
	verdict, asked, known := r.verdicts.get(ask.g.name, subject, arn, ask.notBefore, ask.now)
	if known {
		return verdict, asked, nil
	}
	if last := ask.g.known.undecided; last != nil && ask.now.Before(last.at) {
		return policy.Verdict{}, ask.now, last.err
	}
	verdict, err = r.authorizer(ctx, policy.Request{Subject: subject, Role: arn, Base: ask.base})
	if err != nil {
		ask.failed = err
		r.metrics.ReviewUndecided()
		return policy.Verdict{}, ask.now, err
	}
	r.verdicts.put(ask.g.name, subject, arn, verdict, ask.now)
	return verdict, ask.now, nil
}

// refusedPods are pods of one ServiceAccount that may not have the role, and why. For an AWSIAMRole there are none: its conditions tell.
type refusedPods struct {
	reason string
	wants  []want
}

// refuse notes that pods may not have the role. In a dry run they have it all the same.
func (c *claim) refuse(reason string, wants []want) {
	c.forbidden = append(c.forbidden, refusedPods{reason, wants})
	if c.dryRun {
		return
	}
	if c.refused == nil {
		c.refused = map[*wanter]bool{}
	}
	for _, w := range wants {
		c.refused[w.pod] = true
	}
}

// entitled returns the pods that may have the role.
func (g *gathered) entitled() []want {
	if len(g.refused) == 0 {
		return g.wants
	}
	return slices.DeleteFunc(slices.Clone(g.wants), func(w want) bool { return g.refused[w.pod] })
}

// subjectWants is a subject in whose name a Secret is asked for, with its pods.
type subjectWants struct {
	subject policy.Subject
	wants   []want
}

// subjects returns those in whose name a claim is made: the namespace for an AWSIAMRole, otherwise the pods'
// ServiceAccounts in the order in which their pods came.
func (g *gathered) subjects(c *claim) []subjectWants {
	if c.owner != nil {
		return []subjectWants{{subject: policy.Subject{Namespace: g.name.Namespace}}}
	}
	var subjects []subjectWants
	at := map[string]int{}
	for _, w := range g.wants {
		i, seen := at[w.pod.serviceAccount]
		if !seen {
			i = len(subjects)
			at[w.pod.serviceAccount] = i
			subjects = append(subjects, subjectWants{subject: policy.Subject{Namespace: g.name.Namespace, ServiceAccount: w.pod.serviceAccount}})
		}
		subjects[i].wants = append(subjects[i].wants, w)
	}
	return subjects
}
