package controllers

import (
	"cmp"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/secretstore"
	"kube-aws-iam-controller/pkg/seed"
)

// podTargets returns pods as the objects of events.
func (s *snapshot) podTargets(consumers []podindex.Consumer) []events.Target {
	targets := make([]events.Target, len(consumers))
	for i, c := range consumers {
		targets[i] = s.next.Reported.Pod(c.Pod.Name, c.Pod.UID)
	}
	return targets
}

// targets returns the objects that get events about the Secret: the AWSIAMRole that decides over
// it, and the pods that ask for it and are not refused. The others get an event about that alone.
func (s *snapshot) targets() (targets []events.Target) {
	if s.owner != nil {
		targets = append(targets, events.AWSIAMRole(s.resource, v1.ConditionReady))
	}
	return append(targets, s.podTargets(s.entitled())...)
}

// reportPods emits what in each new pod will not work, and forgets the pods that do not ask for the
// Secret any more.
func (r *reconciler) reportPods(s *snapshot) {
	pods := sets.New[types.UID]()
	for i, c := range s.consumers {
		pods.Insert(c.Pod.UID)
		for _, w := range c.WarningsFor(s.Request, r.secrets.Files.MountPath) {
			r.events.EmitOnce(s.name, events.Inspected(w.Reason, w.Note), s.podTargets(s.consumers[i:i+1])...)
		}
	}
	s.next.NotInjected = 0
	for i, c := range s.strangers {
		pods.Insert(c.Pod.UID)
		if c.NotInjectedByServiceAccount() && (s.requester == nil || !s.requester.Injects) { // not any more
			continue
		}
		if c.Rejection() == v1.ReasonNotInjected {
			s.next.NotInjected++
		}
		r.events.EmitOnce(s.name, events.Inspected(c.Rejection(), c.Validate().Error()), s.podTargets(s.strangers[i:i+1])...)
	}
	s.next.Reported.Keep(pods)
}

// reportForbidden emits one event on each pod whose ServiceAccount has no right to the role,
// whether or not another pod has it; and on an AWSIAMRole in a dry run, which has no other.
func (r *reconciler) reportForbidden(log logr.Logger, s *snapshot) {
	if s.ruling.WouldRefuse != "" && s.owner != nil {
		r.reject(log, s, events.Forbidden(events.DryRun+s.ruling.WouldRefuse), events.AWSIAMRole(s.resource, v1.ConditionAuthorized))
	}
	var before string
	switch {
	case s.ruling.DryRun:
		before = events.DryRun
	case s.access.Allowed:
		for _, c := range s.entitled() {
			s.next.Reported.Allow(c.Pod.UID)
		}
		if s.current != nil {
			before = events.Shared(s.name)
		}
	}
	for _, denial := range s.ruling.Denied {
		e := events.Forbidden(events.Join(before, denial.Reason, denial.Message()))
		r.reject(log, s, e, s.podTargets(s.byAccount[denial.Subject.ServiceAccount])...)
	}
}

// reportRivals emits, where pods and an AWSIAMRole ask for the Secret, what follows for those that
// do not decide: that pods get another role than the Secret's name asks for, or why the AWSIAMRole
// is not served.
func (r *reconciler) reportRivals(log logr.Logger, s *snapshot) {
	switch {
	case s.replacedRole != "":
		r.events.EmitOnce(s.name, events.RoleReplaced(s.name, s.replacedRole, s.arn.String()), s.podTargets(s.consumers)...)
	case s.resource != nil && s.owner == nil && s.ofResource != nil:
		reason, note := s.ofResource.rejection()
		r.reject(log, s, events.Warning(reason, "Decide", note), events.AWSIAMRole(s.resource, v1.ConditionReady))
	}
}

// reportIssued emits that credentials were written. What fails later is reported again.
func (r *reconciler) reportIssued(s *snapshot, d decision, o outcome) {
	role := s.target.Session.Role.String()
	switch {
	case d.reason == secretstore.New:
		r.events.Emit(s.name, events.Created(s.name, role, o.issued.Expires), s.targets()...)
	case s.owner != nil:
		r.events.Emit(s.name, events.Renewed(s.name, role, o.issued.Expires), events.AWSIAMRole(s.resource, v1.ConditionReady))
	}
	for _, c := range s.entitled() {
		s.next.Reported.Serve(c.Pod.UID)
	}
}

// reportFailure emits, logs and counts a failed attempt, each time: the API server counts the
// events in one series.
func (r *reconciler) reportFailure(log logr.Logger, s *snapshot, f *records.Failure) {
	r.metrics.Refused(f.Reason)
	log.Info("credentials refused", "reason", f.Reason, "action", f.Action, "note", f.Note, "pods", len(s.consumers),
		"nextAttempt", f.RetryAt.Format(time.RFC3339))
	r.events.Emit(s.name, events.Warning(f.Reason, f.Action, f.Note), s.targets()...)
}

// reportRejection emits one event per object that has not seen the reason, and logs and counts it
// once. Pods have an event of forbidden roles already, and of what has expired since it could not
// be renewed.
func (r *reconciler) reportRejection(log logr.Logger, s *snapshot, d decision) {
	if d.action == actionDelete && d.reason != v1.ReasonRoleForbidden || d.reason == v1.ReasonRoleForbidden && s.owner == nil {
		return
	}
	e := events.Warning(d.reason, cmp.Or(d.eventAction, "Decide"), d.note)
	notified := r.events.EmitOnce(s.name, e, s.targets()...)
	if s.current != nil && s.current.inUse && s.known.Logged != d.note { // there can be no object that asks for it
		notified, s.next.Logged = max(notified, 1), d.note
	}
	r.countRejection(log, e, notified)
}

// reject emits a rejection on the objects that have not seen it, and logs and counts it once.
func (r *reconciler) reject(log logr.Logger, s *snapshot, e events.Event, on ...events.Target) {
	r.countRejection(log, e, r.events.EmitOnce(s.name, e, on...))
}

// countRejection logs and counts a rejection that was reported to any object.
func (r *reconciler) countRejection(log logr.Logger, e events.Event, notified int) {
	if notified > 0 {
		r.metrics.Refused(e.Reason)
		log.Info("credentials refused", "reason", e.Reason, "note", e.Note, "notified", notified)
	}
}

// renewalError returns why the seed was not renewed; nil if it was, or need not be.
func renewalError(s *snapshot, d decision, o outcome) *seed.RenewalError {
	switch {
	case o.failure != nil:
		return &seed.RenewalError{Action: cmp.Or(o.failure.Action, "Renew"), Note: o.failure.Note}
	case d.note != "":
		rejected := s.unready != nil && credentials.KindOf(s.unready) == credentials.Expired
		return &seed.RenewalError{Action: cmp.Or(d.eventAction, "Renew"), Note: d.note, Rejected: rejected}
	}
	return nil
}
