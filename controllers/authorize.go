package controllers

import (
	"cmp"
	"context"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
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

// authorize finds out who of those that make a claim may have its role. One that may is enough to
// issue.
func (r *reconciler) authorize(ctx context.Context, g *gathered, c *claim) {
	if g.seed { // it is the controller's own role, see resolveRole
		c.verdict = policy.Verdict{Allowed: true, Reason: "it is the controller's own role"}
		return
	}
	ask := g.question(c, r.machine.Now()) // before any review
	c.dryRun = r.settings.DryRunAuthorization
	c.review = r.review(ctx, ask, g.subjects(c), c.arn, func(verdict policy.Verdict, wants []want) {
		c.refuse(verdict.Reason, wants)
	})
	switch {
	case c.verdict.Allowed:
	case c.dryRun:
		c.wouldRefuse = c.verdict.Reason
		c.verdict.Allowed, c.unknown = true, nil
	case c.unknown == nil:
		r.authorizeHeld(ctx, ask, c)
	}
	if settled := r.verdicts.settled(g.name, c.verdict.Allowed, ask.now); !settled.IsZero() {
		g.recheck = r.bySTS(settled)
	}
	r.gatherReview(ask, c)
}

// authorizeHeld finds out whether who may not have the role that is asked for may still have the
// one that the Secret holds: a claim to what it may not have does not prolong what it had.
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
	if answer.verdict.Allowed || answer.unknown != nil {
		g.heldAllowed = true
		return
	}
	g.heldRefusal = g.known.heldRefusal.refused(c.kind().String()+g.held.role, answer.askedLast, answer.asked, r.changed(g))
}

// changed returns when something changed last that a refusal of a Secret's role may depend on;
// zero if nothing did since a review surely allowed it.
func (r *reconciler) changed(g *gathered) time.Time {
	return r.verdicts.changedSince(g.name.Namespace, g.known.allowedSurely())
}

// gatherReview takes over what follows from a review: whether a refusal is confirmed, and when to
// ask again.
func (r *reconciler) gatherReview(ask *question, c *claim) {
	g := ask.g
	refused := g.afterReview(r, c)
	g.refusals[c.kind()] = refused
	g.confirmed, g.askAt = false, time.Time{}
	switch {
	case !c.refusedRole():
	case g.held != nil && g.held.role != c.arn.String():
		g.confirmed, g.askAt = g.heldRefusal.confirmed(), r.bySTS(earlier(refused.next(), g.heldRefusal.next()))
	default:
		g.confirmed, g.askAt = refused.confirmed(), r.bySTS(refused.next())
	}
	g.paused, g.failed = append(g.paused, ask.paused...), append(g.failed, ask.failed...)
	g.failedBy = cmp.Or(ask.failedBy, g.failedBy)
}

// gatherUndecided takes over which reviews could not be decided, and when they are asked again.
func (r *reconciler) gatherUndecided(g *gathered) {
	switch {
	case len(g.failed) > 0:
		of := append(slices.Clone(g.failed), g.paused...)
		g.nextUndecided = afterUndecided(g.name, g.known.undecided, r.machine.Now(), g.held.left(g.now), of, g.failedBy)
	case len(g.paused) > 0:
		g.nextUndecided = g.known.undecided
	default:
		g.nextUndecided = nil
	}
	if g.unknown != nil && g.nextUndecided != nil {
		g.askAt = r.bySTS(g.nextUndecided.at)
	}
}

// afterReview returns the refusal that is remembered after the review of a claim.
func (g *gathered) afterReview(r *reconciler, c *claim) refusal {
	known := g.known.refusals[c.kind()]
	switch {
	case c.verdict.Allowed:
		return refusal{}
	case c.unknown != nil:
		return known.unknown()
	case !c.refusedRole():
		return known
	default:
		return known.refused(c.arn.String(), c.askedLast, c.asked, r.changed(g))
	}
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

// asking returns what reports whether a subject asks for the Secret, by an AWSIAMRole or by a pod.
func (g *gathered) asking() func(policy.Subject) bool {
	serviceAccounts := sets.New[string]()
	for _, w := range g.wants {
		serviceAccounts.Insert(w.pod.serviceAccount)
	}
	return func(s policy.Subject) bool {
		return serviceAccounts.Has(s.ServiceAccount) || (s.ServiceAccount == "" && g.resource != nil)
	}
}

// subjectWants is a subject in whose name a Secret is asked for, with its pods.
type subjectWants struct {
	subject policy.Subject
	wants   []want
}

// subjects returns those in whose name a claim is made: the namespace for an AWSIAMRole,
// otherwise the pods' ServiceAccounts in the order in which their pods came.
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
