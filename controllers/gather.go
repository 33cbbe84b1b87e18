package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/pkg/secretstore"
)

// gather takes a snapshot of all that a decision depends on. It is the only step that reads. It
// returns an error if the API server could not be asked.
func (r *reconciler) gather(ctx context.Context, name types.NamespacedName) (*snapshot, error) {
	s := &snapshot{name: name, claim: &claim{}, known: r.records.Get(name), state: state{
		seed:  name == r.settings.Seed,
		limit: r.settings.RefreshLimit,
		grace: r.settings.UnusedGracePeriod,
	}}
	s.next = s.known
	r.findRequesters(ctx, s)
	existing, err := r.read(ctx, s)
	if err != nil {
		return nil, err
	}
	s.wanted = len(s.consumers) > 0 || s.resource != nil || s.seed
	caller, callerErr := s.getCaller(ctx)
	s.lookAtClocks(r.clocks.Now()) // what STS answered can have corrected them
	switch {
	case existing != nil:
		s.setCurrent(existing)
	case s.seed && s.unadoptable == secretstore.Missing:
		_, s.seedInMemory = r.seed.Credentials(s.now)
	}
	if s.wanted {
		r.resolve(ctx, s, caller, callerErr)
	}
	if s.confirmed && s.current != nil {
		s.deleteAt = s.taken.ToSTSTime(r.reviewer.Removals.Turn(s.name, s.taken.Local))
	}
	return s, r.checkHeld(ctx, s)
}

// findRequesters finds the pods and the ServiceAccount that ask for the Secret, and the identities
// that serve them.
func (r *reconciler) findRequesters(ctx context.Context, s *snapshot) {
	if account, ok := r.accounts.ForSecret(s.name); ok {
		s.requester = &account
	}
	if s.requester != nil && s.requester.InjectsLate && s.known.PodsRefreshedFor != s.requester.UID {
		done, err := r.pods.Refresh(ctx, s.requester.Name)
		if err != nil { // it keeps no pod from its Secret
			logr.FromContextOrDiscard(ctx).Info("pods not listed, tried again", "err", err.Error())
		}
		if s.podsUnlisted = !done; done {
			s.next.PodsRefreshedFor = s.requester.UID
		}
	}
	s.consumers, s.strangers = r.pods.ConsumersOf(s.name)
	s.accounts, s.byAccount = podindex.ByServiceAccount(s.consumers)
	s.webIdentity = r.webIdentity != nil && !s.seed && request.IsOfServiceAccount(s.name.Name)
	if s.aws = r.aws; s.webIdentity {
		s.aws = r.webIdentity.IdentitiesOf(s.requester)
	}
}

// getCaller returns the identity that assumes the role of a Secret that is asked for.
func (s *snapshot) getCaller(ctx context.Context) (credentials.Caller, error) {
	if !s.wanted {
		return credentials.Caller{}, nil
	}
	return s.assumer().Caller(ctx)
}

// lookAtClocks sets the time of the snapshot, and what follows from it for what is remembered.
func (s *snapshot) lookAtClocks(m renewal.Moment) {
	s.taken, s.now, s.clockTrusted = m, m.STS, m.Trusted
	s.lastFailure = s.lastFailure.ValidAt(s.now)
	s.failure = s.lastFailure
	switch {
	case s.wanted:
		s.next.UnusedSince = time.Time{}
	case s.known.UnusedSince.IsZero():
		s.next.UnusedSince = m.Local
	}
	s.unusedSince = m.ToSTSTime(s.next.UnusedSince)
	s.issueAt, s.repairAt = m.ToSTSTime(s.known.Writes.NextIssue(m.Local)), m.ToSTSTime(s.known.Writes.NextRepair(m.Local))
}

// read reads the AWSIAMRole of this name, and returns the Secret if it is the controller's own.
func (r *reconciler) read(ctx context.Context, s *snapshot) (existing *corev1.Secret, err error) {
	if s.resource, err = r.secrets.GetAWSIAMRole(ctx, s.name); err != nil {
		return nil, err
	}
	existing, fresh, err := r.secrets.Get(ctx, s.name, s.known.Writes.Version)
	if fresh {
		s.next.Writes.Version = ""
	}
	if err == nil && existing == nil && s.seed {
		existing, s.unadoptable, err = r.secrets.GetAdoptable(ctx, s.name)
	}
	if err != nil {
		return nil, err
	}
	return existing, r.checkLastFailure(ctx, s, existing == nil)
}

// checkLastFailure drops the last failure if its cause is gone. missing reports whether the
// controller's own Secret does not exist.
func (r *reconciler) checkLastFailure(ctx context.Context, s *snapshot, missing bool) (err error) {
	if s.lastFailure = s.known.Failure; s.lastFailure == nil {
		return nil
	}
	switch s.lastFailure.Reason {
	case v1.ReasonSecretNotManaged:
		if s.unmanaged, err = r.secrets.ExplainUnmanaged(ctx, s.name); s.unmanaged == "" {
			s.lastFailure = nil // the other writer's Secret is gone, or was handed over
		}
	case v1.ReasonUpdateSecretFailed:
		if missing {
			s.lastFailure = nil // what could not be updated, such as an immutable Secret, is gone
		}
	}
	return err
}

// setCurrent sets the Secret that exists, judged by the target as it is known. One that cannot be
// read holds dead credentials.
func (s *snapshot) setCurrent(existing *corev1.Secret) {
	if secret.BelongsToAWSIAMRole(existing) {
		s.grace = 0 // its owner was deleted, and did not just go to come back
	}
	s.current = &current{
		secret: existing, role: string(existing.Data[keys.RoleARN]), credentials: secret.ReadReduced(existing),
		intact: secret.Intact(existing, s.target), repairable: secret.Repairable(existing, s.target, s.known.Writes.AccessKeyID),
	}
	s.spread = renewal.Jitter(s.name.String(), s.current.lifetime())
}

// checkHeld finds out whether the Secret holds what it must not hold. The Secret of a replaced
// ServiceAccount is deleted at once, so the watch of ServiceAccounts must not be behind.
func (r *reconciler) checkHeld(ctx context.Context, s *snapshot) error {
	if s.current == nil || s.seed {
		return nil
	}
	s.current.inUse, s.unfit = s.aws.CheckHeld(ctx, s.name.String(), s.current.role, s.current.credentials.AccessKeyID)
	s.unfitReason = v1.ReasonInvalidRole
	isReplaced := s.unfit == nil && s.requester != nil && secret.IsOfAnotherServiceAccount(s.current.secret, s.requester.UID)
	if !isReplaced {
		return nil
	}
	switch isCurrent, err := r.accounts.IsCurrent(ctx, s.requester); {
	case err != nil:
		return err
	case !isCurrent:
		return errors.New("the watch of ServiceAccounts is behind")
	}
	s.unfit, s.unfitReason = errors.New("its ServiceAccount was deleted and created again"), reasonReplaced
	return nil
}
