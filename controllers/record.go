package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/refresh"
)

// record remembers what was decided and what came of it, tells those who ask for the Secret, and
// returns when to look again: zero if there is nothing left to look at.
func (r *reconciler) record(ctx context.Context, g *gathered, d decision, o outcome) time.Time {
	log := logr.FromContextOrDiscard(ctx).WithValues("role", g.target.Session.Role.String())
	r.recordFindings(g)
	r.recordForbidden(log, g)
	r.recordReplaced(g)
	r.recordSecondary(log, g)
	r.recordReview(g)
	if g.seed {
		r.guard.hear(troubleOf(g, d, o))
	}
	at := r.recordOutcome(log, g, d, o)
	r.recordRemoval(log, g, d, o)
	return r.recordStatus(ctx, log, g, d, o, at)
}

// recordOutcome records what came of acting on a decision, or why nothing was done.
func (r *reconciler) recordOutcome(log logr.Logger, g *gathered, d decision, o outcome) time.Time {
	switch {
	case o.failure != nil:
		return r.recordFailure(log, g, o)
	case d.verb == issue:
		return r.recordIssued(log, g, d, o)
	case d.verb == repair:
		return r.recordRepaired(log, g, d, o)
	case d.verb == remove:
		log.Info("secret deleted", "reason", d.reason, "accessKeyID", g.held.credentials.AccessKeyID, "note", d.note)
		r.memory.update(g.name, func(k *record) { k.removed = true })
		r.recordNews(log, g, d)
	case d.verb == refuse:
		r.recordNews(log, g, d)
	case !g.wanted && g.held == nil:
		return r.forget(g)
	}
	return d.at
}

// forget drops what is remembered of a Secret that does not exist and that no object asks for;
// but not that it was written lately, so that no one gains by deleting it. It returns when to
// look again.
func (r *reconciler) forget(g *gathered) time.Time {
	r.verdicts.forget(g.name)
	r.writes.forget(g.name)
	r.pods.forget(g.name)
	if rested := g.known.restedBy(); rested.After(r.machine.Now()) {
		r.memory.update(g.name, func(k *record) { *k = record{issues: k.issues, repairs: k.repairs, removed: k.removed} })
		return r.bySTS(rested)
	}
	r.memory.forget(g.name)
	return time.Time{}
}

// recordReview remembers what the reviews of this time said.
func (r *reconciler) recordReview(g *gathered) {
	if !g.wanted {
		r.memory.update(g.name, func(k *record) { k.withoutRight = 0 })
		return
	}
	withoutRight := 0
	if g.held != nil && g.review.verdict.Allowed && !g.dryRun {
		for _, f := range g.claim.forbidden {
			withoutRight += len(f.wants)
		}
	}
	r.verdicts.retain(g.name, g.asking())
	contested := g.known.isContested(r.machine.Now())
	r.memory.update(g.name, func(k *record) {
		k.refusals, k.heldRefusal, k.undecided, k.withoutRight = g.refusals, g.heldRefusal, g.nextUndecided, withoutRight
		if g.review.verdict.Allowed {
			k.allowed = g.asked
		}
		if !contested {
			k.contestedBy = ""
		}
	})
}

// recordRemoval lets a Secret wait for its turn to be deleted, or wait no longer.
func (r *reconciler) recordRemoval(log logr.Logger, g *gathered, d decision, o outcome) {
	switch {
	case d.verb == remove && o.failure != nil: // it keeps its place among those that wait
		return
	case d.reason != ReasonRemovalDelayed:
		r.removals.leave(g.name)
		return
	}
	if waiting := r.removals.wait(g.name, r.machine.Now()); waiting > 0 {
		log.Info("deletions for refused roles are delayed: was a right withdrawn by mistake?", "waiting", waiting)
	}
	for _, w := range g.wants { // an AWSIAMRole gets it with its status
		if r.notify(w.pod, g.name, ReasonRemovalDelayed) {
			r.events.refused(podReference(w.pod), g.name, d.reason, d.action, d.note)
		}
	}
}

// hearers returns the objects that get events about the Secret: the AWSIAMRole that decides over
// it, and the pods that ask for it.
func (r *reconciler) hearers(g *gathered) []hearer {
	var all []hearer
	if g.owner != nil {
		all = append(all, r.resourceHearer(g))
	}
	for _, w := range g.entitled() { // the others hear of that, and of nothing else
		all = append(all, hearer{podReference(w.pod), func(reason, action string) bool { return r.notify(w.pod, g.name, reason+"/"+action) }})
	}
	return all
}

func (r *reconciler) resourceHearer(g *gathered) hearer {
	return hearer{roleReference(g.resource), func(reason, _ string) bool {
		return reasonOf(g.resource, v1.ConditionReady) != reason && r.events.mayWarn(g.name.Namespace)
	}}
}

// notify reports whether a pod is to be told something of a Secret: if it is news, and its
// namespace may have one more warning. Otherwise it is told at a later look.
func (r *reconciler) notify(pod *wanter, s types.NamespacedName, about string) bool {
	return r.pods.isNews(pod, s.Name, about) && r.events.mayWarn(s.Namespace) && r.pods.tell(pod, s.Name, about)
}

// recordReplaced tells pods that an AWSIAMRole decided that the Secret is of another role than
// its name says.
func (r *reconciler) recordReplaced(g *gathered) {
	if g.replacedRole == "" {
		return
	}
	for _, w := range g.wants {
		if r.notify(w.pod, g.name, findings+ReasonRoleReplaced) {
			r.events.refused(podReference(w.pod), g.name, ReasonRoleReplaced, "Decide", replacedNote(g))
		}
	}
}

// recordSecondary tells an AWSIAMRole why it is not served, where the pods' own request decides.
func (r *reconciler) recordSecondary(log logr.Logger, g *gathered) {
	if g.resource == nil || g.owner != nil || g.ofResource == nil {
		return
	}
	reason, note := g.ofResource.rejection()
	if r.resourceHearer(g).tell(reason, "") {
		r.events.refused(roleReference(g.resource), g.name, reason, "Decide", note)
		r.countRefused(log, reason, note, 1)
	}
}

// recordFindings tells each new pod what in it will not work.
func (r *reconciler) recordFindings(g *gathered) {
	for _, w := range g.wants {
		for i, f := range w.Findings {
			if r.notify(w.pod, g.name, fmt.Sprintf("%s%d", findings, i)) {
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
	if g.wouldRefuse != "" && g.owner != nil && reasonOf(g.resource, v1.ConditionAuthorized) != ReasonRoleForbidden {
		r.events.refused(roleReference(g.resource), g.name, ReasonRoleForbidden, "Authorize", dryRun+g.wouldRefuse)
		r.countRefused(log, ReasonRoleForbidden, dryRun+g.wouldRefuse, 1)
	}
	if g.verdict.Allowed && !g.dryRun {
		r.pods.forgive(g.entitled(), g.name.Name, ReasonRoleForbidden)
		r.pods.forgive(g.entitled(), g.name.Name, ReasonRemovalDelayed)
	}
	for _, f := range g.claim.forbidden {
		note := g.forbiddenNote(f)
		var news int
		for _, w := range f.wants {
			if r.notify(w.pod, g.name, ReasonRoleForbidden) {
				r.events.refused(podReference(w.pod), g.name, ReasonRoleForbidden, "Authorize", note)
				news++
			}
		}
		r.countRefused(log, ReasonRoleForbidden, note, news)
	}
}

// forbiddenNote says why pods may not have the role, and whether they get it all the same.
func (g *gathered) forbiddenNote(f refusedPods) string {
	switch {
	case g.dryRun:
		return joinNote(dryRun, f.reason)
	case g.review.verdict.Allowed && g.held != nil:
		return joinNote(sharedNote(g), f.reason)
	default:
		return f.reason
	}
}

// countRefused logs and counts a refusal that was news to somebody.
func (r *reconciler) countRefused(log logr.Logger, reason, note string, news int) {
	if news > 0 {
		r.metrics.Refused(reason)
		log.Info("credentials refused", "reason", reason, "note", note, "notified", news)
	}
}

// recordIssued remembers and tells that credentials were written, and returns when to renew them.
func (r *reconciler) recordIssued(log logr.Logger, g *gathered, d decision, o outcome) time.Time {
	r.metrics.Issued(d.reason, r.clock.Now().Sub(r.wantedSince(g, d)))
	log.Info("credentials issued", "reason", d.reason, "session", g.target.Session.Name, "accessKeyID", o.issued.AccessKeyID,
		"expires", o.issued.Expires.Format(time.RFC3339), "pods", len(g.wants))
	note := fmt.Sprintf("Secret %q has credentials of role %s until %s, and is renewed before", g.name.Name, g.target.Session.Role, o.issued.Expires.Format(time.RFC3339))
	switch {
	case d.reason == reasonNew:
		for _, h := range r.hearers(g) {
			r.events.issued(h.object, g.name, ReasonCreateCredentials, note)
		}
	case g.owner != nil:
		r.events.issued(roleReference(g.owner), g.name, ReasonUpdateCredentials, note)
	}
	r.pods.served(g.entitled(), g.name.Name)
	r.recordWritten(log, g, d, o, o.issued, func(k *record) *pace { return &k.issues })
	return r.dueOf(g, o.issued)
}

// recordRepaired remembers that the Secret was written again with the credentials that it held,
// and returns when to renew them.
func (r *reconciler) recordRepaired(log logr.Logger, g *gathered, d decision, o outcome) time.Time {
	log.Info("secret repaired", "reason", d.reason, "session", g.target.Session.Name, "accessKeyID", o.repaired.AccessKeyID, "writer", o.writer)
	r.recordWritten(log, g, d, o, o.repaired, func(k *record) *pace { return &k.repairs })
	return r.dueOf(g, o.repaired)
}

// recordWritten remembers a write, and tells that another writer changes the Secret back if it is
// one of many.
func (r *reconciler) recordWritten(log logr.Logger, g *gathered, d decision, o outcome, c *credentials.Credentials, of func(*record) *pace) {
	now := r.machine.Now()
	var by string
	var contest bool
	r.memory.update(g.name, func(k *record) {
		p := of(k)
		*p = p.wrote(now, c.Expires.Sub(c.Issued))
		by, contest = g.contested(p.count, d, o)
		k.failure, k.accessKeyID, k.contestedBy, k.removed, k.target = nil, c.AccessKeyID, by, false, targetDigest(&g.target)
	})
	if !contest || g.known.isContested(now) {
		return
	}
	note := contestedNote(g.name, by)
	log.Info("secret contested", "writer", by)
	for _, h := range r.hearers(g) {
		r.events.repeated(h.object, g.name, ReasonSecretContested, "Write", note)
	}
}

// dueOf returns when credentials that were just written are to be renewed.
func (r *reconciler) dueOf(g *gathered, c *credentials.Credentials) time.Time {
	next := state{held: &held{credentials: *c}, limit: g.limit}
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

// recordFailure remembers a failed attempt, tells those who wait, and returns when to try again,
// or to remove what is dead.
func (r *reconciler) recordFailure(log logr.Logger, g *gathered, o outcome) time.Time {
	f := *o.failure
	f.role, f.duration = g.target.Session.Role, g.target.Session.Duration
	now, machine := r.clock.Now(), r.machine.Now()
	f = *r.memory.update(g.name, func(k *record) {
		if o.asked && (g.failure == nil || g.failure.transient()) { // attempts at the same have pauses of their own
			k.issues = k.issues.wrote(machine, g.target.Session.Duration)
		}
		k.failure = afterFailure(g.name, k.lastFailure(now), now, g.left(now), f)
	}).failure
	if f.transient() {
		log.V(1).Info("tried again soon", "reason", f.note)
		return f.until
	}
	r.metrics.Refused(f.reason)
	log.Info("credentials refused", "reason", f.reason, "action", f.action, "note", f.note, "pods", len(g.wants), "nextAttempt", f.until.Format(time.RFC3339))
	for _, h := range r.hearers(g) {
		if h.tell(f.reason, f.action) {
			r.events.refused(h.object, g.name, f.reason, f.action, f.note)
		} else {
			r.events.repeated(h.object, g.name, f.reason, f.action, f.note)
		}
	}
	if f.action == actionDelete {
		return f.until
	}
	return g.lookBeforeDeath(f.until) // what is dead by then is removed
}

// recordNews tells those that have not heard of it why they get nothing. It is logged and counted once for all of them. Of forbidden roles pods are
// told elsewhere, and of what has expired when it could not be renewed.
func (r *reconciler) recordNews(log logr.Logger, g *gathered, d decision) {
	told := d.verb == remove && d.reason != ReasonRoleForbidden
	if told || (d.reason == ReasonRoleForbidden && g.owner == nil) {
		return
	}
	var news int
	for _, h := range r.hearers(g) {
		if h.tell(d.reason, d.action) {
			r.events.refused(h.object, g.name, d.reason, cmp.Or(d.action, "Decide"), d.note)
			news++
		}
	}
	if g.inUseByController() && g.known.logged != d.note { // it may be that no object asks for it
		news = max(news, 1)
		r.memory.update(g.name, func(k *record) { k.logged = d.note })
	}
	r.countRefused(log, d.reason, d.note, news)
}
