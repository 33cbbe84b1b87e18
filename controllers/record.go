package controllers

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secretstore"
)

// record remembers what was decided and done, reports it to the objects that ask for the Secret,
// and returns when to reconcile again: zero if there is nothing to wait for. done is when act
// ended.
func (r *reconciler) record(ctx context.Context, s *snapshot, d decision, o outcome, done renewal.Moment) time.Time {
	log := logr.FromContextOrDiscard(ctx).WithValues("role", s.target.Session.Role.String())
	r.reportPods(s)
	r.reportForbidden(log, s)
	r.reportRivals(log, s)
	s.recordReviews()
	if s.seed {
		r.seed.Observe(renewalError(s, d, o))
	}
	at := r.recordOutcome(log, s, d, o, done)
	r.recordRemoval(log, s, d, o)
	if later := s.now.Add(rejectionRetry); s.podsUnlisted && (at.IsZero() || later.Before(at)) {
		return later
	}
	return at
}

// recordOutcome records what was done, or why nothing was.
func (r *reconciler) recordOutcome(log logr.Logger, s *snapshot, d decision, o outcome, done renewal.Moment) time.Time {
	switch {
	case o.failure != nil:
		return r.recordFailure(log, s, o, done)
	case d.action == actionIssue:
		return r.recordIssued(log, s, d, o, done)
	case d.action == actionRepair:
		return r.recordRepaired(log, s, d, o, done)
	case d.action == actionDelete:
		log.Info("secret deleted", "reason", d.reason, "accessKeyID", s.current.credentials.AccessKeyID, "note", d.note)
		s.next.Writes = s.next.Writes.AfterDelete()
		r.reportRejection(log, s, d)
	case d.action == actionReject:
		r.reportRejection(log, s, d)
	}
	return d.requeueAt
}

// recordReviews remembers what the reviews said.
func (s *snapshot) recordReviews() {
	s.next.WithoutRight = 0
	if !s.wanted {
		return
	}
	allowed := s.ruling.Decision.Allowed
	if s.current != nil && allowed && !s.ruling.DryRun {
		for account := range s.denied {
			s.next.WithoutRight += len(s.byAccount[account])
		}
	}
	s.next.Writes = s.next.Writes.AfterRest(s.taken.Local)
}

// recordRemoval adds a Secret to those that wait for their deletion, or removes it from them.
func (r *reconciler) recordRemoval(log logr.Logger, s *snapshot, d decision, o outcome) {
	switch {
	case d.action == actionDelete && o.failure != nil: // it keeps its place among those that wait
		return
	case d.reason != v1.ReasonRemovalDelayed:
		r.reviewer.Removals.Leave(s.name)
		return
	}
	if waiting := r.reviewer.Removals.Wait(s.name, s.taken.Local); waiting > 0 {
		log.Info("deletions for refused roles are delayed: was a right withdrawn by mistake?", "waiting", waiting)
	}
	r.events.EmitOnce(s.name, events.RemovalDelayed(d.note), s.podTargets(s.consumers)...) // an AWSIAMRole has it in its status
}

// recordIssued remembers and reports that credentials were written, and returns when to renew them.
func (r *reconciler) recordIssued(log logr.Logger, s *snapshot, d decision, o outcome, done renewal.Moment) time.Time {
	r.metrics.Issued(d.reason, done.STS.Sub(s.wantedSince(d)))
	log.Info("credentials issued", "reason", d.reason, "session", s.target.Session.Name, "accessKeyID", o.issued.AccessKeyID,
		"expires", o.issued.Expires.Format(time.RFC3339), "pods", len(s.consumers))
	r.reportIssued(s, d, o)
	return r.recordWritten(log, s, d, o, o.issued, done)
}

// recordRepaired remembers that the Secret was written again with the credentials that it held,
// and returns when to renew them.
func (r *reconciler) recordRepaired(log logr.Logger, s *snapshot, d decision, o outcome, done renewal.Moment) time.Time {
	log.Info("secret repaired", "reason", d.reason, "session", s.target.Session.Name, "accessKeyID", o.repaired.AccessKeyID, "writer", o.writer)
	return r.recordWritten(log, s, d, o, o.repaired, done)
}

// recordWritten remembers a write, and reports if it was one of many because another writer changes
// the Secret back. It returns when the credentials are to be renewed.
func (r *reconciler) recordWritten(log logr.Logger, s *snapshot, d decision, o outcome, c *credentials.Credentials, done renewal.Moment) time.Time {
	lifetime := renewal.Lifetime{Issued: c.Issued, Expires: c.Expires}
	w := s.writeOf(d)
	w.Repair, w.Version, w.AccessKeyID, w.Writer, w.Life = d.action == actionRepair, o.version, c.AccessKeyID, o.writer, c.Expires.Sub(c.Issued)
	s.next.Failure, s.next.Writes = nil, s.next.Writes.After(w, done.Local)
	if writer := s.next.Writes.ContestedBy(done.Local); writer != "" && s.known.Writes.ContestedBy(s.taken.Local) == "" {
		log.Info("secret contested", "writer", writer)
		r.events.Emit(s.name, events.Contested(s.name, writer), s.targets()...)
	}
	return lifetime.Due(s.limit, renewal.Jitter(s.name.String(), lifetime))
}

// wantedSince returns when the credentials became necessary that were issued now: when they were
// due or, for a new Secret, when the first pod came that never had any.
func (s *snapshot) wantedSince(d decision) time.Time {
	if !d.since.IsZero() {
		return d.since
	}
	for _, c := range s.consumers {
		if !s.known.Reported.Served(c.Pod.UID) {
			return s.taken.ToSTSTime(c.Pod.FirstSeen)
		}
	}
	return s.now
}

// recordFailure remembers and reports a failed attempt, and returns when to try again, or to delete
// what is dead.
func (r *reconciler) recordFailure(log logr.Logger, s *snapshot, o outcome, done renewal.Moment) time.Time {
	if o.stsAsked && (s.failure == nil || s.failure.Transient()) { // failed attempts have pauses of their own
		s.next.Writes = s.next.Writes.AfterFailure(s.target.Session.Duration, done.Local)
	}
	f := o.failure.After(s.known.Failure.ValidAt(done.STS), s.name, done.STS, s.left())
	s.next.Failure = f
	if f.Transient() {
		log.V(1).Info("tried again soon", "reason", f.Note)
		return f.RetryAt
	}
	r.reportFailure(log, s, f)
	if f.Action == secretstore.ActionDelete {
		return f.RetryAt
	}
	return s.beforeDeath(f.RetryAt) // what is dead by then is deleted
}
