package controllers

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/refresh"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// claim is one request for a Secret: that of an AWSIAMRole, or the one that all pods make by the
// Secret's name.
type claim struct {
	demand.Demand
	// owner is the AWSIAMRole that makes it; nil for pods, and for the seed.
	owner *v1.AWSIAMRole
	// arn is the role, if that is known, and base where roles lie that are asked for by name.
	arn  role.ARN
	base role.Base
	// problem is why it can never be served, and blocked why the controller cannot serve any at
	// the moment.
	problem, blocked error
	review
	// forbidden are the pods that make it and may not have the role; refused are those of them
	// that do not get it.
	forbidden []refusedPods
	refused   map[*wanter]bool
	// dryRun tells that they get it all the same. wouldRefuse is why none would get it, if this
	// were not a dry run.
	dryRun      bool
	wouldRefuse string
	// duration is how long a session is asked for, which may be longer than the target's.
	duration time.Duration
}

// claimKind is who makes a claim.
type claimKind int

const (
	ofPods claimKind = iota
	ofAWSIAMRole
	claimKinds // how many there are
)

func (k claimKind) String() string { return [...]string{"pods ", "AWSIAMRole "}[k] }

func (c *claim) kind() claimKind {
	if c.owner != nil {
		return ofAWSIAMRole
	}
	return ofPods
}

// rejected reports whether a claim is not served, whatever else happens in the meantime.
func (c *claim) rejected() bool { return c.problem != nil || c.refusedRole() }

// refusedRole reports whether the authorizers refuse the role.
func (c *claim) refusedRole() bool {
	return c.problem == nil && !c.asked.IsZero() && c.unknown == nil && !c.verdict.Allowed
}

// resolve finds out which request decides over the Secret, which role it is for, and whether what
// is there is good for it. An AWSIAMRole that is rejected leaves that to the pods that ask by the
// same name.
func (r *reconciler) resolve(ctx context.Context, g *gathered) {
	caller, err := r.identity(g).caller(ctx)
	g.sure, g.now = r.sure(), r.clock.Now() // what STS answers may have corrected it
	for _, c := range g.claims(caller) {
		g.claim = c
		if c.problem == nil {
			r.judgeClaim(ctx, g, c, caller, err)
		}
		if !r.standsAside(g, c) {
			break
		}
	}
	g.decided()
	r.gatherUndecided(g)
}

// claims returns the requests for the Secret, in the order in which they decide.
func (g *gathered) claims(caller credentials.Caller) (claims []*claim) {
	if g.resource != nil {
		g.ofResource = &claim{Demand: demand.FromAWSIAMRole(g.resource), owner: g.resource}
		if g.seed {
			g.ofResource.problem = fmt.Errorf("the Secret %q is the controller's own (--seed-secret), and no AWSIAMRole decides over it: give this one another name", g.name.Name)
		}
		claims = append(claims, g.ofResource)
	}
	switch {
	case g.seed:
		claims = append(claims, &claim{Demand: g.ofSeed(caller)})
	case len(g.wants) > 0:
		claims = append(claims, &claim{Demand: g.wants[0].Demand})
	}
	return claims
}

// ofSeed returns what the seed asks for: the role of its name, or if it has another name the
// caller's own.
func (g *gathered) ofSeed(caller credentials.Caller) demand.Demand {
	named, ok := strings.CutPrefix(g.name.Name, demand.SecretPrefix)
	if !ok {
		named = caller.RoleName()
	}
	return demand.Demand{Secret: g.name.Name, Role: named}
}

// standsAside reports whether a claim leaves the Secret to the next one: if an AWSIAMRole is
// rejected, or if it is not known who may have its role. What it has in there already is taken
// away as by any refusal, not before that was confirmed.
func (r *reconciler) standsAside(g *gathered, c *claim) bool {
	own := g.held != nil && secret.OfAWSIAMRole(g.held.secret)
	switch {
	case c.owner == nil || len(g.wants) == 0 && !g.seed:
		return false
	case c.problem != nil:
		return true
	case c.unknown != nil:
		return !own
	case !c.refusedRole():
		return false
	default:
		return !own || g.held.role != c.arn.String() || g.afterReview(r, c).confirmed()
	}
}

// judgeClaim finds out whether a claim can be served. callerErr is why the controller does not
// know who it is for AWS.
func (r *reconciler) judgeClaim(ctx context.Context, g *gathered, c *claim, caller credentials.Caller, callerErr error) {
	if c.blocked = callerErr; callerErr != nil && g.seed {
		return
	}
	if c.problem = c.Check(); c.problem != nil {
		return
	}
	if c.base = caller.Base; callerErr != nil {
		c.base = r.base()
	}
	if callerErr != nil && (g.held == nil || c.base.IsZero()) {
		return
	}
	if r.resolveRole(ctx, g, c, caller); c.arn.IsZero() {
		return
	}
	if callerErr == nil {
		r.aim(g, c, caller)
	}
	r.authorize(ctx, g, c)
	if c.refusedRole() {
		c.blocked = nil // a right that was withdrawn counts while the controller has no AWS identity, too
	}
}

// resolveRole finds the role of a claim. Only the seed's may be the controller's own, and must be.
func (r *reconciler) resolveRole(ctx context.Context, g *gathered, c *claim, caller credentials.Caller) {
	if g.seed {
		c.arn, c.problem = ownRole(caller, c.Role) // no role if there is a problem
		return
	}
	arn, err := c.base.Resolve(c.Role)
	if err != nil {
		if c.blocked == nil { // by another base it might be a role
			c.problem = err
		}
		return
	}
	own, err := r.isOwnRole(ctx, arn)
	switch {
	case err != nil:
		c.blocked = cmp.Or(c.blocked, err)
	case own:
		c.problem = errOwnRole(arn)
		return
	}
	c.arn = arn
}

// errOwnRole is why a request for the controller's own role is invalid.
func errOwnRole(arn role.ARN) error {
	return fmt.Errorf("role %s is the controller's own: with it, a pod could assume every role that trusts the controller. It is given to no one who asks for it, in any authorization mode; "+
		"ask for another role", arn)
}

// ownRole returns the role that is asked for of the seed, if it is the one that the controller
// is: by its name it lies under the base role ARN, or as the roles of pods may lie in another
// account, at the root of its own.
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
	return role.ARN{}, fmt.Errorf("the seed is of %s and is renewed with credentials of no other role than its own, not of %s: name the Secret after its role", caller.ARN, reference)
}

// aim sets what the Secret is to be for, and judges what is there by it.
func (r *reconciler) aim(g *gathered, c *claim, caller credentials.Caller) {
	c.duration = cmp.Or(c.Duration, r.settings.SessionDuration)
	g.target = r.target(g, c, caller.Longest(c.duration))
	if g.held != nil {
		g.hold(g.held.secret)
	}
	g.dropStaleFailure()
}

// target returns what the Secret is to be for.
func (r *reconciler) target(g *gathered, c *claim, duration time.Duration) secret.Target {
	t := secret.Target{
		Name: g.name,
		Session: credentials.Session{
			Role:       c.arn,
			Name:       role.SessionName(r.settings.ClusterName, g.name.Namespace, g.name.Name),
			Duration:   duration,
			ExternalID: r.settings.ExternalIDOf(g.name.Namespace),
			Tags:       r.settings.tags(g.name.Namespace),
		},
		Files: r.files,
	}
	if !g.seed { // on which all namespaces depend
		t.Session.Namespace = g.name.Namespace
	}
	if c.owner != nil {
		t.Labels = c.owner.Labels
		t.Owner = &metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind, Name: c.owner.Name, UID: c.owner.UID}
	}
	return t
}

// hold reads an existing Secret of the controller's own. One that cannot be read holds dead
// credentials.
func (g *gathered) hold(s *corev1.Secret) {
	g.held = &held{
		secret: s, role: string(s.Data[secret.RoleARNKey]), credentials: secret.Held(s),
		intact: secret.Intact(s, g.target), repairable: secret.Repairable(s, g.target, g.known.accessKeyID),
	}
	g.spread = refresh.Spread(g.name.String(), g.held.life())
}

// dropStaleFailure drops a failure that says nothing about what is asked for now.
func (g *gathered) dropStaleFailure() {
	g.failure = g.lastFailure
	if f := g.failure; f != nil && (!f.about(g.target.Session) || f.ofAnotherClock(g.now)) {
		g.failure = nil
	}
}

// decided takes over what the claim that decides says of the state.
func (g *gathered) decided() {
	c := g.claim
	if g.held != nil {
		g.held.allowed = g.heldAllowed
	}
	g.role, g.invalid, g.unready, g.undecided, g.verdict = c.arn.String(), c.problem, c.blocked, c.unknown, c.verdict
	if c.rejected() || c.arn.IsZero() || c.owner == nil || len(g.wants) == 0 {
		return
	}
	asked := g.wants[0].Role
	if arn, err := c.base.Resolve(asked); err != nil || arn != c.arn {
		g.replacedRole = asked
	}
}
