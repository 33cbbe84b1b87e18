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
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/renewal"
)

// A status that could not be written is written again after a second, then with pauses that double
// to a minute.
const (
	statusRetry    = time.Second
	maxStatusRetry = time.Minute
)

// writeStatus writes what was decided and done to the AWSIAMRole, if that is new, and returns when
// to reconcile again.
func (r *reconciler) writeStatus(ctx context.Context, s *snapshot, d decision, o outcome, at time.Time) time.Time {
	if s.resource == nil || (o.failure != nil && o.failure.Transient()) {
		return at
	}
	resource := s.resource.DeepCopy()
	resource.Status = s.status(d, o)
	if equality.Semantic.DeepEqual(resource.Status, s.resource.Status) {
		return at
	}
	s.next.StatusPause = 0
	if err := client.IgnoreNotFound(r.secrets.Cached.Status().Update(ctx, resource)); err != nil {
		s.next.StatusPause = min(maxStatusRetry, max(statusRetry, 2*s.known.StatusPause))
		at = renewal.Earlier(at, s.now.Add(s.next.StatusPause))
		logr.FromContextOrDiscard(ctx).V(1).Info("the status could not be written, tried again soon", "error", err.Error())
	}
	return at
}

// keepMessage leaves the message of a condition as it is while status and reason stay the same:
// each attempt that could not be decided has other words, such as a port, and each would be one
// more write.
func keepMessage(c *metav1.Condition, conditions []metav1.Condition) {
	was := meta.FindStatusCondition(conditions, c.Type)
	if was != nil && was.Status == c.Status && was.Reason == c.Reason && (c.Reason == v1.ReasonAuthorizationUnknown || c.Reason == v1.ReasonNotAsked) {
		c.Message = was.Message
	}
}

// status returns the status of the AWSIAMRole. It is pure.
func (s *snapshot) status(d decision, o outcome) v1.AWSIAMRoleStatus {
	next := *s.resource.Status.DeepCopy()
	next.ObservedGeneration = new(s.resource.Generation)
	next.RoleARN, next.Expiration, next.AccessKeyID = "", nil, ""
	current, roleARN := s.serving(d, o)
	if current != nil {
		next.RoleARN, next.Expiration, next.AccessKeyID = roleARN, &metav1.Time{Time: current.Expires}, current.AccessKeyID
	}
	for _, c := range s.conditions(d, o, current) {
		if c != nil {
			c.Message = events.Shorten(c.Message) // the cache has it so: any other would be written again and again
			keepMessage(c, next.Conditions)
			c.ObservedGeneration, c.LastTransitionTime = s.resource.Generation, metav1.Time{Time: s.now}
			meta.SetStatusCondition(&next.Conditions, *c)
		}
	}
	return next
}

// conditions returns those of the AWSIAMRole. One whose Secret others decide over has none of
// what is in it.
func (s *snapshot) conditions(d decision, o outcome, current *credentials.Credentials) []*metav1.Condition {
	if s.owner != nil {
		return []*metav1.Condition{s.ready(d, o, current), s.authorized(d), s.fullDuration()}
	}
	reason, note := s.ofResource.rejection()
	ready := &metav1.Condition{Type: v1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: note}
	return []*metav1.Condition{ready, s.authorized(d)}
}

// serving returns the credentials that are in the Secret now, and the role that they are of; nil if
// there are none that pods can use.
func (s *snapshot) serving(d decision, o outcome) (current *credentials.Credentials, roleARN string) {
	switch {
	case s.owner == nil:
		return nil, ""
	case o.issued != nil:
		return o.issued, s.target.Session.Role.String()
	case s.current == nil || s.current.dead(s.now) || (d.action == actionDelete && o.failure == nil):
		return nil, ""
	default:
		return &s.current.credentials, s.current.role
	}
}

// ready returns whether there are good credentials, and why there are none or why they are not
// renewed.
func (s *snapshot) ready(d decision, o outcome, current *credentials.Credentials) *metav1.Condition {
	c := &metav1.Condition{Type: v1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1.ReasonIssued, Message: fmt.Sprintf("Secret %q has credentials of the role, and is renewed before they expire", s.name.Name)}
	switch {
	case o.failure != nil:
		c.Reason, c.Message = o.failure.Reason, o.failure.Note
	case d.action == actionDelete && d.reason == reasonExpired:
		c.Reason, c.Message = v1.ReasonExpired, "The credentials have expired and could not be renewed: "+d.note
	case d.action == actionDelete || d.action == actionReject:
		c.Reason, c.Message = d.reason, d.note
	case d.note != "": // the seed, which is kept whatever happens
		c.Reason, c.Message = v1.ReasonGetCredentialsFailed, d.note
	}
	if current == nil {
		c.Status = metav1.ConditionFalse
	}
	return c
}

// authorized returns whether the resource has the right to its role; nil if that is not known at
// the moment, and does not matter yet.
func (s *snapshot) authorized(d decision) *metav1.Condition {
	c := &metav1.Condition{Type: v1.ConditionAuthorized, Status: metav1.ConditionUnknown, Reason: v1.ReasonNotAsked}
	of := s.ofResource
	unknown := cmp.Or(of.blocked, of.ruling.Unknown)
	switch {
	case of.problem != nil:
		c.Message = of.problem.Error()
	case unknown != nil && d.action == actionNone && meta.FindStatusCondition(s.resource.Status.Conditions, c.Type) != nil:
		return nil
	case unknown != nil:
		c.Message = unknown.Error()
	case of.ruling.WouldRefuse != "":
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1.ReasonRoleForbidden, events.DryRun+of.ruling.WouldRefuse
	case of.ruling.Decision.Allowed:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1.ReasonAllowed, of.ruling.Decision.Message()
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1.ReasonRoleForbidden, of.ruling.Decision.Message()
	}
	return c
}

// fullDuration returns whether the session is as long as was asked for; nil if that is not known.
func (s *snapshot) fullDuration() *metav1.Condition {
	if s.target.Session.Role.IsZero() {
		return nil
	}
	c := &metav1.Condition{Type: v1.ConditionFullSessionDuration, Status: metav1.ConditionTrue, Reason: v1.ReasonAsRequested}
	if got := s.target.Session.Duration; got < s.duration {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1.ReasonRoleChaining, fmt.Sprintf(
			"The session is cut from %s to %s: AWS allows no more where a role is assumed by a role (role chaining), as the controller is", s.duration, got)
	}
	return c
}
