package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// gathered is the state of one Secret, and what is needed to act on a decision about it.
type gathered struct {
	state

	name types.NamespacedName
	// known is what was remembered of the Secret, and lastFailure the failure of it that still
	// says something.
	known       record
	lastFailure *failure
	// resource is the AWSIAMRole of the Secret's name, if there is one, and ofResource what is
	// known of its request.
	resource   *v1.AWSIAMRole
	ofResource *claim
	// wants are the pods that want the Secret.
	wants []want
	// claim is the request that decides what is in the Secret.
	*claim
	// replacedRole is the role that the pods ask for by the Secret's name, if the AWSIAMRole
	// decides that it is another.
	replacedRole string
	// refusals and heldRefusal are what was known of refusals of the role that is asked for, by
	// the kind of claim, and of the one that the Secret holds, with what the reviews of this time
	// added. heldAllowed reports whether any claim may have the latter.
	refusals    [claimKinds]refusal
	heldRefusal refusal
	heldAllowed bool
	// paused and failed are the subjects of all claims of which no review could be decided,
	// lately and now, and failedBy is why. nextUndecided is what is remembered of that.
	paused, failed []policy.Subject
	failedBy       error
	nextUndecided  *undecided
	// target is what the Secret is to be for. It is empty while that is not known.
	target secret.Target
}

// gather reads all that a decision depends on. It is the only step that reads. An error means that the API server could not be asked.
func (r *reconciler) gather(ctx context.Context, name types.NamespacedName) (*gathered, error) {
	now := r.clock.Now()
	g := &gathered{name: name, claim: &claim{}, known: r.memory.get(name), state: state{
		now:   now,
		limit: r.settings.RefreshLimit,
		grace: r.settings.UnusedGracePeriod,
	}}
	g.failure, g.refusals, g.heldRefusal, g.nextUndecided = g.known.lastFailure(now), g.known.refusals, g.known.heldRefusal, g.known.undecided
	g.seed = name == r.settings.Seed
	wants, noneSince := r.pods.wanting(name)
	g.wants, g.unwantedSince = wants, r.bySTS(noneSince)
	existing, err := r.find(ctx, g)
	if err != nil {
		return nil, err
	}
	g.lastFailure = g.failure
	g.wanted = len(g.wants) > 0 || g.resource != nil || g.seed
	if existing != nil && secret.OfAWSIAMRole(existing) {
		g.grace = 0 // its owner was deleted, and did not just go to come back
	}
	if existing != nil {
		g.hold(existing)
	}
	g.seedInMemory = g.seed && existing == nil && g.unadoptable == seedMissing && r.guard.seed.inMemory(now)
	r.gatherPace(g)
	if g.wanted {
		r.resolve(ctx, g)
	}
	r.gatherTurn(g)
	r.gatherOwnRole(ctx, g)
	return g, nil
}

// gatherPace finds out when the Secret may be written again.
func (r *reconciler) gatherPace(g *gathered) {
	now := r.machine.Now()
	if at := g.known.issues.next(now); at.After(now) {
		g.issueAt = r.bySTS(at)
	}
	if at := g.known.repairs.next(now); at.After(now) {
		g.repairAt = r.bySTS(at)
	}
}

// gatherTurn finds out when a Secret may be deleted whose refusal is confirmed.
func (r *reconciler) gatherTurn(g *gathered) {
	if !g.confirmed || g.held == nil {
		return
	}
	now := r.machine.Now()
	if at := r.removals.turn(g.name, now); at.After(now) {
		g.removeAt = r.bySTS(at)
	}
}

// gatherOwnRole finds out whether the Secret holds what only the seed may hold, and whether the
// controller works with it.
func (r *reconciler) gatherOwnRole(ctx context.Context, g *gathered) {
	if g.held == nil || g.seed {
		return
	}
	arn, parseErr := role.ParseARN(g.held.role)
	own, err := r.isOwnRole(ctx, arn) // it is known which keys are in use when this is
	g.held.inUse = r.usesKey(g.held.credentials.AccessKeyID)
	if parseErr != nil || err != nil || !own {
		return // while it is not known, nothing is issued, and nothing is taken away
	}
	g.held.ownRole = errOwnRole(arn)
	if g.held.inUse {
		g.held.ownRole = fmt.Errorf("the Secret %q holds the credentials that the controller itself works with, of its role %s, and is not renewed. Start the controller with --seed-secret=%s "+
			"to have it renew them; see docs/bootstrap.md", g.name.Name, arn, g.name)
	}
}

// inUseByController reports whether the controller works with what is in a Secret that it does
// not renew.
func (g *gathered) inUseByController() bool { return g.held != nil && g.held.inUse }

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

// seedMissing is why a seed that does not exist is not taken.
const seedMissing = "it does not exist"

// adoptable is the seed as somebody made it who did not give it the controller's label: the one such Secret that the controller takes. It must hold
// credentials, and nobody else may claim it; else it says why it is not taken.
func (r *reconciler) adoptable(ctx context.Context, name types.NamespacedName) (s *corev1.Secret, whyNot string, err error) {
	s = &corev1.Secret{}
	if err := r.live.Get(ctx, name, s); err != nil {
		return nil, seedMissing, ignoreNotFound(err)
	}
	if metav1.GetControllerOf(s) != nil || secret.CopyOf(s) != "" {
		return nil, notManaged(name, s), nil
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
		return notManaged(name, meta), nil
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
