package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	"kube-aws-iam-controller/pkg/refresh"
)

// record tells everybody what was decided and what came of it, and returns when to look again: zero if there is nothing left to look at.
func (r *reconciler) record(ctx context.Context, g gathered, d decision, o outcome) time.Time {
	log := logr.FromContextOrDiscard(ctx).WithValues("role", g.target.Session.Role.String())
	r.recordFindings(g)
	switch {
	case o.failure != nil:
		return r.recordFailure(log, g, *o.failure)
	case d.verb == issue:
		return r.recordIssued(log, g, d, o)
	case d.verb == remove:
		log.Info("secret deleted", "reason", d.reason, "accessKeyID", g.held.credentials.AccessKeyID, "note", d.note)
		if d.reason == ReasonRoleForbidden {
			r.recordNews(log, g, d)
		}
	case d.verb == refuse:
		r.recordNews(log, g, d)
	case !g.wanted && g.held == nil:
		r.failures.clear(g.name)
		r.pods.forget(g.name)
	}
	return d.at
}

// recordFindings tells each new pod what in it will not work.
func (r *reconciler) recordFindings(g gathered) {
	for _, w := range g.wants {
		for i, f := range w.Findings {
			if r.pods.tell(w.pod, fmt.Sprintf("%s/%d", g.name.Name, i)) {
				r.events.found(w.pod, g.name, f)
			}
		}
	}
}

// recordIssued closes the books on credentials that were written, and says when to renew them.
func (r *reconciler) recordIssued(log logr.Logger, g gathered, d decision, o outcome) time.Time {
	r.failures.clear(g.name)
	since := d.since
	if since.IsZero() {
		since = g.wants[0].pod.since
	}
	r.metrics.Issued(d.reason, r.clock.Now().Sub(since))
	log.Info("credentials issued", "reason", d.reason, "session", g.target.Session.Name, "accessKeyID", o.issued.AccessKeyID,
		"expires", o.issued.Expires.Format(time.RFC3339), "pods", len(g.wants))
	if d.reason == reasonNew {
		note := fmt.Sprintf("Secret %q has credentials of role %s until %s, and is renewed before", g.name.Name, g.target.Session.Role, o.issued.Expires.Format(time.RFC3339))
		for _, w := range g.wants {
			r.events.created(w.pod, g.name, note)
		}
	}
	g.held = &held{credentials: *o.issued}
	g.spread = refresh.Spread(g.name.String(), g.held.life())
	return g.due()
}

// recordFailure remembers a failed attempt, tells everybody who waits, and says when to try again, or to remove what is dead.
func (r *reconciler) recordFailure(log logr.Logger, g gathered, f failure) time.Time {
	f = r.failures.add(g.name, g.now, f)
	if f.passing() {
		log.V(1).Info("tried again soon", "reason", f.note)
		return f.until
	}
	r.metrics.Refused(f.reason)
	log.Info("credentials refused", "reason", f.reason, "action", f.action, "note", f.note, "pods", len(g.wants), "nextAttempt", f.until.Format(time.RFC3339))
	for _, w := range g.wants {
		r.pods.tell(w.pod, g.name.Name+"/"+f.reason)
		r.events.refused(w.pod, g.name, f.reason, f.action, f.note)
	}
	if g.held != nil && g.held.dead(g.now) {
		return g.now
	}
	return g.refusal(f.reason, f.note, f.until).at
}

// recordNews tells the pods that have not heard of it why they get nothing. It is logged and counted once for all of them.
func (r *reconciler) recordNews(log logr.Logger, g gathered, d decision) {
	if d.note == "" {
		return
	}
	var news int
	for _, w := range g.wants {
		if r.pods.tell(w.pod, g.name.Name+"/"+d.reason) {
			r.events.refused(w.pod, g.name, d.reason, "Decide", d.note)
			news++
		}
	}
	if news > 0 {
		r.metrics.Refused(d.reason)
		log.Info("credentials refused", "reason", d.reason, "note", d.note, "pods", news)
	}
}
