package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/refresh"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// gathered is the state of one Secret, and what is needed to act on a decision about it.
type gathered struct {
	state

	name types.NamespacedName
	// wants are the pods that want the Secret.
	wants []want
	// target is what the Secret is to be for. It is empty as long as that is not known.
	target secret.Target
}

// gather reads all that a decision depends on. It is the only step that reads. An error means that the API server could not be asked.
func (r *reconciler) gather(ctx context.Context, name types.NamespacedName) (gathered, error) {
	g := gathered{name: name, state: state{
		now:     r.clock.Now(),
		failure: r.failures.get(name),
		limit:   r.settings.RefreshLimit,
		grace:   r.settings.UnusedGracePeriod,
	}}
	g.wants, g.unwantedSince = r.pods.wanting(name)
	g.wanted = len(g.wants) > 0

	existing, err := r.existing(ctx, name)
	if err != nil {
		return gathered{}, err
	}
	if g.failure != nil && g.failure.reason == ReasonSecretNotManaged {
		if g.foreign, err = r.foreign(ctx, name); err != nil {
			return gathered{}, err
		}
		if !g.foreign {
			g.failure = nil // it was deleted or handed over
		}
	}
	if g.wanted {
		r.resolve(ctx, &g)
	}
	if existing != nil {
		g.held = hold(existing, g.target)
		g.spread = refresh.Spread(name.String(), g.held.life())
	}
	return g, nil
}

// existing is the controller's own Secret of this name, or nil.
func (r *reconciler) existing(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	var s corev1.Secret
	if err := r.client.Get(ctx, name, &s); err != nil {
		return nil, ignoreNotFound(err)
	}
	if !secret.Owned(&s) {
		return nil, nil
	}
	return &s, nil
}

// foreign asks the API server itself whether there is a Secret of this name that is not the controller's.
func (r *reconciler) foreign(ctx context.Context, name types.NamespacedName) (bool, error) {
	meta, err := r.metadata(ctx, name)
	if err != nil {
		return false, ignoreNotFound(err)
	}
	return !secret.Owned(meta), nil
}

// metadata asks the API server itself for what a Secret of this name is, without what it holds.
func (r *reconciler) metadata(ctx context.Context, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	var meta metav1.PartialObjectMetadata
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return &meta, r.live.Get(ctx, name, &meta)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// resolve finds out which role is wanted, in which session, and whether it may be had.
func (r *reconciler) resolve(ctx context.Context, g *gathered) {
	demand := g.wants[0].Demand
	if g.invalid = demand.Check(); g.invalid != nil {
		return
	}
	caller, err := r.caller(ctx)
	if err != nil {
		g.unready = err
		return
	}
	arn, err := caller.Base.Resolve(demand.Role)
	if err != nil {
		g.invalid = err
		return
	}
	g.verdict, err = r.authorize(policy.Subject{Namespace: g.name.Namespace}, arn)
	if err != nil {
		g.unready = err
		return
	}
	g.target = secret.Target{
		Name: g.name,
		Session: credentials.Session{
			Role:     arn,
			Name:     role.SessionName(r.settings.ClusterName, g.name.Namespace, g.name.Name),
			Duration: caller.Longest(r.settings.SessionDuration),
		},
		MountPath: r.settings.MountPath,
		Region:    r.region,
	}
}

// hold reads an existing Secret of the controller's own. One that cannot be read holds dead credentials.
func hold(s *corev1.Secret, t secret.Target) *held {
	c, err := secret.Read(s)
	if err != nil {
		return &held{secret: s}
	}
	return &held{secret: s, credentials: c, intact: secret.Intact(s, t, c)}
}
