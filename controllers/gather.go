package controllers

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/refresh"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// gathered is the state of one Secret, and what is needed to act on a decision about it.
type gathered struct {
	state

	name types.NamespacedName
	// resource is the AWSIAMRole that wants the Secret, if there is one: then it says what is in it, and not the pods.
	resource *v1.AWSIAMRole
	// wants are the pods that want the Secret.
	wants []want
	// forbidden are the pods that want it and may not have its role.
	forbidden []refusedPods
	// refused are those of them that do not get it.
	refused map[*wanter]bool
	// dryRun tells that they get it all the same. wouldRefuse is why nobody would, if this were not a dry run.
	dryRun      bool
	wouldRefuse string
	// target is what the Secret is to be for. It is empty as long as that is not known.
	target secret.Target
	// wantedDuration is how long a session is wanted, which may be longer than the target's.
	wantedDuration time.Duration
}

// gather reads all that a decision depends on. It is the only step that reads. An error means that the API server could not be asked.
func (r *reconciler) gather(ctx context.Context, name types.NamespacedName) (*gathered, error) {
	now := r.clock.Now()
	g := &gathered{name: name, state: state{
		now:     now,
		failure: r.failures.get(name, now),
		limit:   r.settings.RefreshLimit,
		grace:   r.settings.UnusedGracePeriod,
	}}
	g.seed = name == r.settings.Seed
	wants, noneSince := r.pods.wanting(name)
	g.wants, g.unwantedSince = wants, r.bySTS(noneSince)
	existing, err := r.find(ctx, g)
	if err != nil {
		return nil, err
	}
	g.wanted = len(g.wants) > 0 || g.resource != nil || g.seed
	if existing != nil && secret.OfAWSIAMRole(existing) {
		g.grace = 0 // its owner was deleted, and did not just go to come back
	}
	if g.wanted {
		r.resolve(ctx, g, existing)
	}
	if existing != nil && g.held == nil {
		g.hold(existing)
	}
	return g, nil
}

// find reads the AWSIAMRole of this name, and the Secret if it is the controller's own.
func (r *reconciler) find(ctx context.Context, g *gathered) (existing *corev1.Secret, err error) {
	if g.resource, err = r.awsIAMRole(ctx, g.name); err != nil {
		return nil, err
	}
	existing, err = r.existing(ctx, g.name)
	if err == nil && existing == nil && g.seed {
		existing, g.unadoptable, err = r.adoptable(ctx, g.name)
	}
	if err != nil {
		return nil, err
	}
	return existing, r.lookAgain(ctx, g)
}

// lookAgain finds out whether the Secret of somebody else's that was in the way is still there, or was deleted or handed over.
func (r *reconciler) lookAgain(ctx context.Context, g *gathered) error {
	if g.failure == nil || g.failure.reason != ReasonSecretNotManaged {
		return nil
	}
	var err error
	if g.foreign, err = r.foreign(ctx, g.name); g.foreign == "" {
		g.failure = nil
	}
	return err
}

// awsIAMRole is the AWSIAMRole of this name, or nil. One that is being deleted wants nothing any more.
func (r *reconciler) awsIAMRole(ctx context.Context, name types.NamespacedName) (*v1.AWSIAMRole, error) {
	if !r.servesRoles {
		return nil, nil
	}
	var resource v1.AWSIAMRole
	if err := r.client.Get(ctx, name, &resource); err != nil {
		return nil, ignoreNotFound(err)
	}
	if !resource.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	return &resource, nil
}

// existing is the controller's own Secret of this name, or nil. If the cache does not have yet what was written last, the API server is asked.
func (r *reconciler) existing(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	err := r.client.Get(ctx, name, s)
	if r.writes.unseen(name, s.ResourceVersion) {
		s = &corev1.Secret{}
		err = r.live.Get(ctx, name, s)
		secret.Reduce(s, r.files)
	}
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	if !secret.Owned(s) || (secret.OfAWSIAMRole(s) && !r.servesRoles) {
		return nil, nil
	}
	return s, nil
}

// adoptable is the seed as somebody made it who did not give it the controller's label: the one such Secret that the controller takes. It must hold
// credentials, and nobody else may claim it; else it says why it is not taken.
func (r *reconciler) adoptable(ctx context.Context, name types.NamespacedName) (s *corev1.Secret, whyNot string, err error) {
	s = &corev1.Secret{}
	if err := r.live.Get(ctx, name, s); err != nil {
		return nil, "it does not exist", ignoreNotFound(err)
	}
	if claimed := metav1.GetControllerOf(s); claimed != nil {
		return nil, notManaged(name, claimed), nil
	}
	if secret.Reduce(s, r.files); secret.Held(s) == (credentials.Credentials{}) {
		return nil, "it holds no credentials", nil
	}
	return s, "", nil
}

// foreign asks the API server itself whether there is a Secret of this name that is not the controller's, and says what to do about it.
func (r *reconciler) foreign(ctx context.Context, name types.NamespacedName) (note string, err error) {
	meta, err := r.metadata(ctx, name)
	switch {
	case err != nil:
		return "", ignoreNotFound(err)
	case secret.OfAWSIAMRole(meta) && !r.servesRoles:
		return ofUnservedRole(name), nil
	case secret.Owned(meta):
		return "", nil
	default:
		return notManaged(name, metav1.GetControllerOf(meta)), nil
	}
}

// metadata asks the API server itself for what a Secret of this name is, without what it holds.
func (r *reconciler) metadata(ctx context.Context, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	meta := metadataOf(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := r.live.Get(ctx, name, meta)
	return meta, err
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// resolve finds out which role is wanted, in which session, whether what is there is good for it, and whether the role may be had.
func (r *reconciler) resolve(ctx context.Context, g *gathered, existing *corev1.Secret) {
	caller, err := r.identity(g).caller(ctx)
	g.sure, g.now = r.sure(), r.clock.Now() // what STS answers may have corrected it
	if err != nil && g.seed {
		g.unready = err
		return
	}
	wanted := g.demand(caller)
	if g.invalid = wanted.Check(); g.invalid != nil {
		return
	}
	if err != nil {
		r.resolveUnready(ctx, g, existing, err)
		return
	}
	resolve := caller.Base.Resolve
	if g.seed {
		resolve = func(reference string) (role.ARN, error) { return ownRole(caller, reference) }
	}
	arn, err := resolve(wanted.Role)
	if err != nil {
		g.invalid = err
		return
	}
	g.wantedDuration = cmp.Or(wanted.Duration, r.settings.SessionDuration)
	g.target = r.target(g, arn, caller.Longest(g.wantedDuration))
	if existing != nil {
		g.hold(existing)
	}
	g.heed()
	if g.need().verb == issue {
		r.verdicts.forget(g.name) // asked anew
	}
	r.authorize(ctx, g, arn, caller.Base)
}

// heed drops a failure that says nothing about what is wanted now.
func (g *gathered) heed() {
	if f := g.failure; f != nil && (!f.about(g.target.Session) || f.ofAnotherClock(g.now)) {
		g.failure = nil
	}
}

// ownRole is the role that is asked for of the seed, if it is the one that the controller is: by its name it lies under the base role ARN, or else, as the
// roles of pods may lie in another account, at the root of its own.
func ownRole(caller credentials.Caller, reference string) (role.ARN, error) {
	home, err := role.BaseOf(caller.ARN)
	if err != nil {
		return role.ARN{}, err
	}
	for _, base := range []role.Base{caller.Base, home} {
		if arn, err := base.Resolve(reference); err == nil && caller.Is(arn) {
			return arn, nil
		}
	}
	return role.ARN{}, fmt.Errorf("the seed is of %s and is renewed with credentials of no other role than its own, not of %s: name the Secret after its role, or let the AWSIAMRole of that "+
		"name ask for it", caller.ARN, reference)
}

// resolveUnready is for a controller that has no AWS identity at the moment. A right that was withdrawn counts all the same, where the role is known.
func (r *reconciler) resolveUnready(ctx context.Context, g *gathered, existing *corev1.Secret, reason error) {
	g.unready = reason
	base := r.base()
	if existing == nil || base.IsZero() {
		return
	}
	arn, err := base.Resolve(g.demand(credentials.Caller{}).Role)
	if err != nil {
		return
	}
	g.hold(existing)
	r.authorize(ctx, g, arn, base)
	if g.verdict.Allowed || g.unready != nil {
		g.unready = reason
	}
}

// demand is what is wanted: by the AWSIAMRole, or else by the pods, which all want the same; or of a seed that has another name the caller's own role.
func (g *gathered) demand(caller credentials.Caller) demand.Demand {
	if g.resource != nil {
		return demand.FromAWSIAMRole(g.resource)
	}
	if len(g.wants) > 0 {
		return g.wants[0].Demand
	}
	named, ok := strings.CutPrefix(g.name.Name, demand.SecretPrefix)
	if !ok {
		named = caller.RoleName()
	}
	return demand.Demand{Secret: g.name.Name, Role: named}
}

// target is what the Secret is to be for.
func (r *reconciler) target(g *gathered, arn role.ARN, duration time.Duration) secret.Target {
	t := secret.Target{
		Name: g.name,
		Session: credentials.Session{
			Role:       arn,
			Name:       role.SessionName(r.settings.ClusterName, g.name.Namespace, g.name.Name),
			Duration:   duration,
			ExternalID: r.settings.ExternalIDOf(g.name.Namespace),
			Tags:       r.settings.tags(g.name.Namespace),
		},
		Files: r.files,
	}
	if g.resource != nil {
		t.Labels = g.resource.Labels
		t.Owner = &metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind, Name: g.resource.Name, UID: g.resource.UID}
	}
	return t
}

// hold reads an existing Secret of the controller's own. One that cannot be read holds dead credentials.
func (g *gathered) hold(s *corev1.Secret) {
	g.held = &held{secret: s, role: string(s.Data[secret.RoleARNKey]), credentials: secret.Held(s), intact: secret.Intact(s, g.target)}
	g.spread = refresh.Spread(g.name.String(), g.held.life())
}
