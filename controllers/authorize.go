package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

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

// authorize finds out who of those that want the Secret may have its role. One that may is enough to issue; those that may not are told.
func (r *reconciler) authorize(ctx context.Context, g *gathered, arn role.ARN, base role.Base) {
	g.role = arn.String()
	g.dryRun = r.settings.DryRunAuthorization
	var failed []error
	now := r.machine.Now() // before anybody is asked
	for subject, wants := range g.subjects() {
		verdict, known := r.verdicts.get(g.name, subject, arn, now)
		if !known {
			var err error
			if verdict, err = r.authorizer(ctx, policy.Request{Subject: subject, Role: arn, Base: base}); err != nil {
				failed = append(failed, err)
				continue
			}
			r.verdicts.put(g.name, subject, arn, verdict, now)
		}
		if verdict.Allowed {
			g.verdict = verdict
			continue
		}
		if !g.verdict.Allowed {
			g.verdict = verdict
		}
		g.refuse(verdict.Reason, wants)
	}
	switch {
	case g.verdict.Allowed:
	case g.seed: // it is the controller's own role: see resolve
		g.verdict = policy.Verdict{Allowed: true, Reason: "it is the controller's own role"}
	case g.dryRun:
		g.wouldRefuse, g.verdict.Allowed = cmp.Or(g.verdict.Reason, fmt.Sprint(errors.Join(failed...))), true
	default:
		g.unready = errors.Join(failed...)
	}
	if settled := r.verdicts.settled(g.name.Namespace, g.verdict.Allowed, now); !settled.IsZero() {
		g.recheck = r.bySTS(settled)
	}
}

// refusedPods are pods of one ServiceAccount that may not have the role, and why. For an AWSIAMRole there are none: its conditions tell.
type refusedPods struct {
	reason string
	wants  []want
}

// refuse notes that pods may not have the role. In a dry run they have it all the same.
func (g *gathered) refuse(reason string, wants []want) {
	g.forbidden = append(g.forbidden, refusedPods{reason, wants})
	if g.dryRun {
		return
	}
	if g.refused == nil {
		g.refused = map[*wanter]bool{}
	}
	for _, w := range wants {
		g.refused[w.pod] = true
	}
}

// entitled are the wishes of the pods that may have the role.
func (g *gathered) entitled() []want {
	if len(g.refused) == 0 {
		return g.wants
	}
	return slices.DeleteFunc(slices.Clone(g.wants), func(w want) bool { return g.refused[w.pod] })
}

// subjects are those in whose name the Secret is wanted, with their pods: the namespace for an AWSIAMRole, else the pods' ServiceAccounts.
func (g *gathered) subjects() map[policy.Subject][]want {
	if g.resource != nil {
		return map[policy.Subject][]want{{Namespace: g.name.Namespace}: nil}
	}
	subjects := map[policy.Subject][]want{}
	for _, w := range g.wants {
		s := policy.Subject{Namespace: g.name.Namespace, ServiceAccount: w.pod.serviceAccount}
		subjects[s] = append(subjects[s], w)
	}
	return subjects
}
