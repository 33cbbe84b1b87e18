package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/refresh"
)

// record tells everybody what was decided and what came of it, and returns when to look again: zero if there is nothing left to look at.
func (r *reconciler) record(ctx context.Context, g *gathered, d decision, o outcome) time.Time {
	log := logr.FromContextOrDiscard(ctx).WithValues("role", g.target.Session.Role.String())
	r.recordFindings(g)
	r.recordForbidden(log, g)
	if g.seed {
		r.guard.hear(troubleOf(g, d, o))
	}
	at := d.at
	switch {
	case o.failure != nil:
		at = r.recordFailure(log, g, o.failure)
	case d.verb == issue:
		at = r.recordIssued(log, g, d, o)
	case d.verb == remove:
		log.Info("secret deleted", "reason", d.reason, "accessKeyID", g.held.credentials.AccessKeyID, "note", d.note)
		r.recordNews(log, g, d)
	case d.verb == refuse:
		r.recordNews(log, g, d)
	case !g.wanted && g.held == nil:
		r.failures.clear(g.name)
		r.verdicts.forget(g.name)
		r.writes.forget(g.name)
		r.pods.forget(g.name)
	}
	return r.recordStatus(ctx, log, g, d, o, at)
}

// hearers are those that are told what becomes of the Secret: the AWSIAMRole and the pods that want it.
func (r *reconciler) hearers(g *gathered) []hearer {
	var all []hearer
	if g.resource != nil {
		all = append(all, hearer{g.resource, func(reason, _ string) bool { return reasonOf(g.resource, v1.ConditionReady) != reason }})
	}
	for _, w := range g.entitled() { // the others hear of that, and of nothing else
		all = append(all, hearer{podReference(w.pod), func(reason, action string) bool { return r.pods.tell(w.pod, g.name.Name, reason+"/"+action) }})
	}
	return all
}

// recordFindings tells each new pod what in it will not work.
func (r *reconciler) recordFindings(g *gathered) {
	for _, w := range g.wants {
		for i, f := range w.Findings {
			if r.pods.tell(w.pod, g.name.Name, fmt.Sprintf("%s%d", findings, i)) {
				r.events.found(podReference(w.pod), g.name, f)
			}
		}
	}
}

// dryRun begins what is told about those that would be refused.
const dryRun = "Dry run, nobody is refused yet: "

// recordForbidden tells each pod, once, that its ServiceAccount may not have the role, whether or not another pod may; and an AWSIAMRole, if this is
// a dry run and so nothing else tells it.
func (r *reconciler) recordForbidden(log logr.Logger, g *gathered) {
	if g.wouldRefuse != "" && g.resource != nil && reasonOf(g.resource, v1.ConditionAuthorized) != ReasonRoleForbidden {
		r.events.refused(g.resource, g.name, ReasonRoleForbidden, "Authorize", dryRun+g.wouldRefuse)
		r.countRefused(log, ReasonRoleForbidden, dryRun+g.wouldRefuse, 1)
	}
	if g.verdict.Allowed && !g.dryRun {
		r.pods.forgive(g.entitled(), g.name.Name, ReasonRoleForbidden)
	}
	for _, f := range g.forbidden {
		note := f.reason
		if g.dryRun {
			note = dryRun + note
		}
		var news int
		for _, w := range f.wants {
			if r.pods.tell(w.pod, g.name.Name, ReasonRoleForbidden) {
				r.events.refused(podReference(w.pod), g.name, ReasonRoleForbidden, "Authorize", note)
				news++
			}
		}
		r.countRefused(log, ReasonRoleForbidden, note, news)
	}
}

// countRefused logs and counts a refusal that was news to somebody.
func (r *reconciler) countRefused(log logr.Logger, reason, note string, news int) {
	if news > 0 {
		r.metrics.Refused(reason)
		log.Info("credentials refused", "reason", reason, "note", note, "told", news)
	}
}

// recordIssued closes the books on credentials that were written, and says when to renew them.
func (r *reconciler) recordIssued(log logr.Logger, g *gathered, d decision, o outcome) time.Time {
	r.failures.clear(g.name)
	r.metrics.Issued(d.reason, r.clock.Now().Sub(r.wantedSince(g, d)))
	log.Info("credentials issued", "reason", d.reason, "session", g.target.Session.Name, "accessKeyID", o.issued.AccessKeyID,
		"expires", o.issued.Expires.Format(time.RFC3339), "pods", len(g.wants))
	note := fmt.Sprintf("Secret %q has credentials of role %s until %s, and is renewed before", g.name.Name, g.target.Session.Role, o.issued.Expires.Format(time.RFC3339))
	switch {
	case d.reason == reasonNew:
		for _, h := range r.hearers(g) {
			r.events.issued(h.object, g.name, ReasonCreateCredentials, note)
		}
	case g.resource != nil:
		r.events.issued(g.resource, g.name, ReasonUpdateCredentials, note)
	}
	r.pods.served(g.entitled(), g.name.Name)
	next := state{held: &held{credentials: *o.issued}, limit: g.limit}
	next.spread = refresh.Spread(g.name.String(), next.held.life())
	return next.due()
}

// wantedSince is when the credentials came to be wanted that were issued now: when they were due, or else when the first pod came that never had any.
func (r *reconciler) wantedSince(g *gathered, d decision) time.Time {
	if !d.since.IsZero() {
		return d.since
	}
	for _, w := range g.wants {
		if !r.pods.wasServed(w.pod, g.name.Name) {
			return r.bySTS(w.pod.since)
		}
	}
	return g.now
}

// recordFailure remembers a failed attempt, tells everybody who waits, and says when to try again, or to remove what is dead.
func (r *reconciler) recordFailure(log logr.Logger, g *gathered, f *failure) time.Time {
	f.role, f.duration = g.target.Session.Role, g.target.Session.Duration
	now := r.clock.Now()
	*f = r.failures.add(g.name, now, g.left(now), *f)
	if f.transient() {
		log.V(1).Info("tried again soon", "reason", f.note)
		return f.until
	}
	r.metrics.Refused(f.reason)
	log.Info("credentials refused", "reason", f.reason, "action", f.action, "note", f.note, "pods", len(g.wants), "nextAttempt", f.until.Format(time.RFC3339))
	for _, h := range r.hearers(g) {
		h.tell(f.reason, f.action)
		r.events.refused(h.object, g.name, f.reason, f.action, f.note)
	}
	if g.held == nil || g.seed || f.action == actionDelete {
		return f.until
	}
	return earlier(f.until, g.held.credentials.UsableUntil()) // what is dead by then is removed
}

// recordNews tells those that have not heard of it why they get nothing. It is logged and counted once for all of them. Of forbidden roles pods are
// told elsewhere, and of what has expired when it could not be renewed.
func (r *reconciler) recordNews(log logr.Logger, g *gathered, d decision) {
	told := d.verb == remove && d.reason != ReasonRoleForbidden
	if told || (d.reason == ReasonRoleForbidden && g.resource == nil) {
		return
	}
	var news int
	for _, h := range r.hearers(g) {
		if h.tell(d.reason, d.action) {
			r.events.refused(h.object, g.name, d.reason, cmp.Or(d.action, "Decide"), d.note)
			news++
		}
	}
	r.countRefused(log, d.reason, d.note, news)
}
