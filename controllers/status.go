package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
)

// A status that could not be written is written again after a second, and then with pauses that
// double to a minute.
const (
	statusRetry    = time.Second
	maxStatusRetry = time.Minute
)

// recordStatus writes what was decided and what came of it to the AWSIAMRole, if that is news, and returns when to look again.
func (r *reconciler) recordStatus(ctx context.Context, log logr.Logger, g *gathered, d decision, o outcome, at time.Time) time.Time {
	if g.resource == nil || (o.failure != nil && o.failure.transient()) {
		return at
	}
	next := g.resource.DeepCopy()
	next.Status = g.status(d, o)
	if equality.Semantic.DeepEqual(next.Status, g.resource.Status) {
		return at
	}
	pause := time.Duration(0)
	if err := r.client.Status().Update(ctx, next); err != nil && ignoreNotFound(err) != nil {
		pause = min(maxStatusRetry, max(statusRetry, 2*g.known.statusPause))
		at = earlier(at, g.now.Add(pause))
		log.V(1).Info("the status could not be written, tried again soon", "error", err.Error())
	}
	if pause != g.known.statusPause {
		r.memory.update(g.name, func(k *record) { k.statusPause = pause })
	}
	return at
}

// keepMessage leaves the message of a condition as it is while it says the same: what could not
// be decided is said in other words with each attempt, such as a port, and each would be one more
// write.
func keepMessage(c *metav1.Condition, conditions []metav1.Condition) {
	was := meta.FindStatusCondition(conditions, c.Type)
	if was != nil && was.Status == c.Status && was.Reason == c.Reason && (c.Reason == ReasonAuthorizationUnknown || c.Reason == v1.ReasonNotAsked) {
		c.Message = was.Message
	}
}

// status is what the AWSIAMRole is told. It is pure.
func (g *gathered) status(d decision, o outcome) v1.AWSIAMRoleStatus {
	s := *g.resource.Status.DeepCopy()
	s.ObservedGeneration = new(g.resource.Generation)
	s.RoleARN, s.Expiration, s.AccessKeyID = "", nil, ""
	current, roleARN := g.serving(d, o)
	if current != nil {
		s.RoleARN, s.Expiration, s.AccessKeyID = roleARN, &metav1.Time{Time: current.Expires}, current.AccessKeyID
	}
	for _, c := range g.conditions(d, o, current) {
		if c != nil {
			c.Message = shorten(c.Message) // as it is cached: else it would be written again and again
			keepMessage(c, s.Conditions)
			c.ObservedGeneration, c.LastTransitionTime = g.resource.Generation, metav1.Time{Time: g.now}
			meta.SetStatusCondition(&s.Conditions, *c)
		}
	}
	return s
}

// conditions returns those of the AWSIAMRole. One whose Secret others decide over has none of
// what is in it.
func (g *gathered) conditions(d decision, o outcome, current *credentials.Credentials) []*metav1.Condition {
	if g.owner != nil {
		return []*metav1.Condition{g.ready(d, o, current), g.authorized(d), g.fullDuration()}
	}
	reason, note := g.ofResource.rejection()
	ready := &metav1.Condition{Type: v1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: note}
	return []*metav1.Condition{ready, g.authorized(d)}
}

// rejection returns why a claim is rejected, as reason and message.
func (c *claim) rejection() (reason, note string) {
	if c.problem != nil {
		return ReasonInvalidRole, c.problem.Error()
	}
	if c.unknown != nil {
		return ReasonAuthorizationUnknown, c.unknown.Error()
	}
	return ReasonRoleForbidden, c.verdict.Reason
}

// serving are the credentials that are in the Secret now, and whose they are; nil if there are none that are of any use.
func (g *gathered) serving(d decision, o outcome) (current *credentials.Credentials, roleARN string) {
	switch {
	case g.owner == nil:
		return nil, ""
	case o.issued != nil:
		return o.issued, g.target.Session.Role.String()
	case g.held == nil || g.held.dead(g.now) || (d.verb == remove && o.failure == nil):
		return nil, ""
	default:
		return &g.held.credentials, g.held.role
	}
}

// ready tells whether there are good credentials, and why there are none or why they are not renewed.
func (g *gathered) ready(d decision, o outcome, current *credentials.Credentials) *metav1.Condition {
	c := &metav1.Condition{Type: v1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1.ReasonIssued, Message: fmt.Sprintf("Secret %q has credentials of the role, and is renewed before they expire", g.name.Name)}
	switch {
	case o.failure != nil:
		c.Reason, c.Message = o.failure.reason, o.failure.note
	case d.verb == remove && d.reason == reasonExpired:
		c.Reason, c.Message = v1.ReasonExpired, "The credentials have expired and could not be renewed: "+d.note
	case d.verb == remove || d.verb == refuse:
		c.Reason, c.Message = d.reason, d.note
	case d.note != "": // the seed, which is kept whatever happens
		c.Reason, c.Message = ReasonGetCredentialsFailed, d.note
	}
	if current == nil {
		c.Status = metav1.ConditionFalse
	}
	return c
}

// authorized says whether the resource may have its role; nil if that is not known at the moment,
// and does not matter yet.
func (g *gathered) authorized(d decision) *metav1.Condition {
	c := &metav1.Condition{Type: v1.ConditionAuthorized, Status: metav1.ConditionUnknown, Reason: v1.ReasonNotAsked}
	of := g.ofResource
	unknown := cmp.Or(of.blocked, of.unknown)
	switch {
	case of.problem != nil:
		c.Message = of.problem.Error()
	case unknown != nil && d.verb == keep && reasonOf(g.resource, v1.ConditionAuthorized) != "":
		return nil
	case unknown != nil:
		c.Message = unknown.Error()
	case of.wouldRefuse != "":
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonRoleForbidden, dryRun+of.wouldRefuse
	case of.verdict.Allowed:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1.ReasonAllowed, of.verdict.Reason
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonRoleForbidden, of.verdict.Reason
	}
	return c
}

// fullDuration tells whether the session is as long as was asked for; nil if that is not known.
func (g *gathered) fullDuration() *metav1.Condition {
	switch {
	case g.target.Session.Role.IsZero():
		return nil
	case g.target.Session.Duration < g.duration:
		return &metav1.Condition{Type: v1.ConditionFullSessionDuration, Status: metav1.ConditionFalse, Reason: v1.ReasonRoleChaining, Message: fmt.Sprintf(
			"The session is cut from %s to %s: AWS allows no more where a role is assumed by a role (role chaining), as the controller is", g.duration, g.target.Session.Duration)}
	default:
		return &metav1.Condition{Type: v1.ConditionFullSessionDuration, Status: metav1.ConditionTrue, Reason: v1.ReasonAsRequested}
	}
}

// reasonOf is the reason of a condition as the API server has it.
func reasonOf(r *v1.AWSIAMRole, condition string) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, condition); c != nil {
		return c.Reason
	}
	return ""
}
