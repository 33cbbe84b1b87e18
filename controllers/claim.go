package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
)

// resolve finds out which claim decides over the Secret, which role it is for, and whether what is
// in the Secret is good for it. callerErr is why the controller does not know its AWS identity. An
// AWSIAMRole that is rejected leaves the Secret to the pods that ask by the same name.
func (r *reconciler) resolve(ctx context.Context, s *snapshot, caller credentials.Caller, callerErr error) {
	round := r.reviewer.Begin(s.name, s.known.Reviews, s.taken.Local)
	for _, c := range r.claims(s, caller) {
		s.claim = c
		if c.problem == nil {
			r.judge(ctx, s, c, round, caller, callerErr)
		}
		if !s.yields(c) {
			break
		}
	}
	s.applyClaim()
	var retryAt time.Time
	if s.next.Reviews, retryAt = round.End(&s.ruling.Review, s.isSubject, s.current.left(s.now)); !retryAt.IsZero() {
		s.reviewAt = s.taken.ToSTSTime(retryAt)
	}
}

// claims returns the requests for the Secret, in the order in which they decide.
func (r *reconciler) claims(s *snapshot, caller credentials.Caller) (claims []*claim) {
	if s.resource != nil {
		s.ofResource = &claim{Request: request.FromAWSIAMRole(s.resource), owner: s.resource}
		if s.seed {
			s.ofResource.problem = fmt.Errorf("the Secret %q is the controller's own (--seed-secret), and no AWSIAMRole decides over it: "+
				"give this one another name", s.name.Name)
		}
		claims = append(claims, s.ofResource)
	}
	switch {
	case s.seed:
		claims = append(claims, &claim{Request: request.FromSeed(s.name.Name, caller.RoleName())})
	case len(s.consumers) > 0 && s.consumers[0].ServiceAccount() != "":
		claims = append(claims, r.accountClaim(s))
	case len(s.consumers) > 0:
		claims = append(claims, &claim{Request: s.consumers[0].Request})
	}
	return claims
}

// accountClaim returns the request of the ServiceAccount whose pods ask for the Secret.
func (r *reconciler) accountClaim(s *snapshot) *claim {
	if s.requester == nil {
		without := &request.WithoutRoleError{ServiceAccount: s.consumers[0].ServiceAccount(), Namespace: s.name.Namespace}
		return &claim{Request: s.consumers[0].Request, problem: without}
	}
	c := &claim{Request: s.requester.Request, account: s.requester}
	if s.webIdentity {
		c.problem = r.webIdentity.CheckAudience(c.Audience)
	}
	return c
}

// yields reports whether a claim leaves the Secret to the next one: if an AWSIAMRole is rejected,
// or if it is not known whether its role is allowed. Its credentials in the Secret are deleted as
// by any refusal, not before that was confirmed.
func (s *snapshot) yields(c *claim) bool {
	own := s.current != nil && secret.BelongsToAWSIAMRole(s.current.secret)
	switch {
	case c.owner == nil || len(s.consumers) == 0 && !s.seed:
		return false
	case c.problem != nil:
		return true
	case c.ruling.Unknown != nil:
		return !own
	case !c.isRefused():
		return false
	default:
		return !own || s.current.role != c.arn.String() || c.ruling.ClaimConfirmed
	}
}

// judge finds out whether a claim can be served.
func (r *reconciler) judge(ctx context.Context, s *snapshot, c *claim, round *authorization.Round, caller credentials.Caller, callerErr error) {
	if c.blocked = callerErr; callerErr != nil && s.seed {
		return
	}
	if c.problem = c.Validate(); c.problem != nil {
		return
	}
	if c.base = caller.Base; callerErr != nil {
		c.base = s.aws.Base()
	}
	if callerErr != nil && (s.current == nil || c.base.IsZero()) {
		return
	}
	if r.resolveRole(ctx, s, c, caller); c.arn.IsZero() {
		return
	}
	if callerErr == nil {
		r.setTarget(s, c, caller)
	}
	s.authorize(ctx, round, c)
	if c.isRefused() {
		c.blocked = nil // a withdrawn right counts while the controller has no AWS identity, too
	}
}

// resolveRole finds the role of a claim. Only the seed's can be the controller's own, and must be.
func (r *reconciler) resolveRole(ctx context.Context, s *snapshot, c *claim, caller credentials.Caller) {
	if s.seed {
		c.arn, c.problem = caller.OwnRole(c.Role) // no role if there is a problem
		return
	}
	arn, err := c.base.Resolve(c.Role)
	if err != nil {
		if c.blocked == nil { // by another base it could be a role
			c.problem = err
		}
		return
	}
	own, err := s.aws.IsOwnRole(ctx, arn)
	switch {
	case err != nil:
		c.blocked = cmp.Or(c.blocked, err)
	case own:
		c.problem = &credentials.OwnRoleError{Role: arn}
		return
	}
	c.arn = arn
}

// setTarget sets what the Secret is to be for, and judges what is there by it.
func (r *reconciler) setTarget(s *snapshot, c *claim, caller credentials.Caller) {
	c.duration = r.settings.Sessions.RequestedDuration(c.Duration)
	s.target = secret.Target{
		Name: s.name, Files: r.secrets.Files.At(c.MountPath), Keys: c.Keys, Session: r.settings.Sessions.Session(c.arn, s.user(), c.Duration, caller),
	}
	if c.account != nil {
		s.target.ServiceAccountUID = c.account.UID
	}
	if s.seed { // all namespaces depend on it, so it waits for none
		s.target.Session.Namespace = ""
	}
	if c.owner != nil {
		s.target.Labels = c.owner.Labels
		s.target.Owner = &metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind, Name: c.owner.Name, UID: c.owner.UID}
	}
	if s.current != nil {
		s.setCurrent(s.current.secret)
	}
	if s.failure = s.lastFailure; s.failure != nil && !s.failure.IsAbout(s.target.Session) {
		s.failure = nil
	}
}

// applyClaim sets what follows from the claim that decides.
func (s *snapshot) applyClaim() {
	c := s.claim
	if s.current != nil {
		s.current.allowed = s.currentAllowed
	}
	s.role, s.invalid, s.invalidReason, s.unready, s.undecided, s.access = c.arn.String(), c.problem, c.problemReason(), c.blocked, c.ruling.Unknown, c.ruling.Decision
	if c.rejected() || c.arn.IsZero() || c.owner == nil || len(s.consumers) == 0 {
		return
	}
	asked := s.consumers[0].Role
	if arn, err := c.base.Resolve(asked); err != nil || arn != c.arn {
		s.replacedRole = asked
	}
}

// authorize finds out whether a claim's role is allowed.
func (s *snapshot) authorize(ctx context.Context, round *authorization.Round, c *claim) {
	switch {
	case s.seed: // it is the controller's own role, see resolveRole
		c.ruling.Decision = authorization.Decision{Allowed: true, Reason: "it is the controller's own role"}
		return
	case s.webIdentity:
		c.ruling.Decision = authorization.Decision{Allowed: true, Reason: "AWS decides, by the role's trust policy"}
		return
	}
	claimed := &authorization.Claim{Kind: c.kind(), Subjects: s.subjects(c), Role: c.arn, Base: c.base, Exists: s.current != nil}
	claimed.Issue = !s.target.Session.Role.IsZero() && s.needsCredentials()
	if s.current != nil {
		claimed.Current = s.current.role
	}
	c.ruling = round.Rule(ctx, claimed)
	c.denied = sets.New[string]()
	for _, denial := range c.ruling.Denied {
		c.denied.Insert(denial.Subject.ServiceAccount)
	}
	s.currentAllowed = s.currentAllowed || c.ruling.CurrentAllowed
	s.confirmed, s.reviewAt, s.recheckAt = c.ruling.Confirmed, s.taken.ToSTSTime(c.ruling.ReviewAt), s.taken.ToSTSTime(c.ruling.RecheckAt)
}

// subjects returns those in whose name a claim is made: the namespace for an AWSIAMRole, otherwise
// the pods' ServiceAccounts in the order in which their pods came.
func (s *snapshot) subjects(c *claim) (subjects []authorization.Subject) {
	if c.owner != nil {
		return []authorization.Subject{{Namespace: s.name.Namespace}}
	}
	for _, account := range s.accounts {
		subjects = append(subjects, authorization.Subject{Namespace: s.name.Namespace, ServiceAccount: account})
	}
	return subjects
}

// isSubject reports whether a subject asks for the Secret, by an AWSIAMRole or by a pod.
func (s *snapshot) isSubject(subject authorization.Subject) bool {
	return len(s.byAccount[subject.ServiceAccount]) > 0 || (subject.ServiceAccount == "" && s.resource != nil)
}
