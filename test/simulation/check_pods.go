package simulation

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// editedSince reports whether another writer changed or deleted a Secret since then.
func (sim *simulator) editedSince(name key, then time.Duration) bool {
	at, ok := sim.editedAt[name]
	return ok && at >= then
}

// checkStart checks the credentials that a starting pod finds.
func (sim *simulator) checkStart(p *pod, name key) {
	s := sim.api.secrets[name]
	if _, ok := sim.ofPod(p, name); !ok || !managed(s) || sim.editedSince(name, sim.now-2*time.Minute) || !sim.hadController(sim.now-2*time.Minute) {
		return
	}
	current, ok := sim.sts.issued[accessKeyID(s)]
	if !ok || !saysExpiry(s, current) {
		return // another writer created it, or wrote when it expires
	}
	sim.recordCheck(noStartOnExpired)
	if !current.expires.After(sim.time()) {
		sim.recordViolation(noStartOnExpired, "pod %s starts with Secret %s, dead since %s", p.name, name, sim.time().Sub(current.expires))
	}
}

// saysExpiry reports whether a Secret says when the session in it expires.
func saysExpiry(s *corev1.Secret, current session) bool {
	at, err := time.Parse(time.RFC3339, string(s.Data[keys.Expire]))
	return err == nil && at.Equal(current.expires)
}

// hadController reports whether a controller could work since then. STS can have been unavailable.
func (sim *simulator) hadController(since time.Duration) bool {
	return sim.faults.quiet(since, sim.now, faultSTSDown, faultSTSErrors, faultSTSSlow, faultIdentityLost, faultReviewsUndecided, faultReviewsWrong)
}

// checkUse checks the credentials with which a running pod calls AWS.
func (sim *simulator) checkUse(p *pod, name key) {
	has, ok := p.reads[name]
	current, issued := sim.sts.issued[has.accessKeyID]
	arn, asks := sim.ofPod(p, name)
	if !ok || !issued || !asks || current.role != arn.String() || !sim.canServe(arn) {
		return
	}
	sim.checkLife(p, name, current, arn)
}

// checkLife checks that the credentials that a pod has in use are alive, if they could be renewed.
func (sim *simulator) checkLife(p *pod, name key, current session, arn role.ARN) {
	life := current.expires.Sub(epoch) - current.issued
	outages := sim.faults.total(current.issued-settleTime, sim.now)
	if sim.editedSince(name, current.issued-settleTime) || outages > life/2-3*time.Minute || p.created > current.issued || sim.instances[0].desired(name, sim.now, sim.now).arn != current.role || !sim.entitledThroughout(p, name, arn, current.issued-settleTime) {
		return
	}
	if outages > time.Minute {
		sim.recordCheck(runningPodNeverExpired)
	}
	if !current.expires.After(sim.time()) {
		sim.recordViolation(runningPodNeverExpired, "pod %s uses credentials of Secret %s, dead since %s, after outages of %s", p.name, name, sim.time().Sub(current.expires), outages)
	}
}

// canServe reports whether a controller runs that the role trusts.
func (sim *simulator) canServe(arn role.ARN) bool {
	return !sim.sts.distrusts[arn.Name()] && len(sim.instances) > 0
}

// entitledThroughout reports whether a pod might have a role all the time since then, by one
// grant, and nothing else decided over its Secret.
func (sim *simulator) entitledThroughout(p *pod, name key, arn role.ARN, since time.Duration) bool {
	if sim.api.roles[name] != nil || sim.roleChangedAt[name] >= since && sim.roleChangedAt[name] > 0 || sim.terminatingSince(name.Namespace, since) ||
		sim.accountChangedSince(name, since) {
		return false
	}
	return sim.entitledSince(name.Namespace, p.serviceAccount, arn, since)
}

// entitledSince reports whether a ServiceAccount has had a role all the time since then, by one
// grant.
func (sim *simulator) entitledSince(namespace, serviceAccount string, arn role.ARN, since time.Duration) bool {
	if sim.cfg.alwaysAllow || sim.cfg.dryRun {
		return true
	}
	for _, g := range sim.rbac.grants {
		if g.from <= max(0, since) && g.allows(namespace, user(namespace, serviceAccount), sim.names(arn), sim.now, sim.now) {
			return true
		}
	}
	return false
}

// terminatingSince reports whether a namespace was being deleted since then.
func (sim *simulator) terminatingSince(namespace string, since time.Duration) bool {
	at, ok := sim.namespaceDeletedAt[namespace]
	return ok && at >= since
}

// serveTimeout is how long a new pod waits for its Secrets at most, and a Secret whose right was
// withdrawn stays at most.
const serveTimeout = 30 * time.Second

// scheduleServedCheck schedules the check that a new pod is served.
func (sim *simulator) scheduleServedCheck(p *pod) {
	began := sim.now
	sim.after(serveTimeout, func() {
		if !sim.pods.exists(p) || p.terminating || len(sim.instances) == 0 || !sim.faults.quiet(began-2*time.Minute, sim.now) {
			return
		}
		for _, name := range p.secrets {
			sim.checkServed(p, name, began)
		}
	})
}

func (sim *simulator) checkServed(p *pod, name key, began time.Duration) {
	arn, asks := sim.ofPod(p, name)
	if !asks || sim.sts.distrusts[arn.Name()] || !sim.entitledThroughout(p, name, arn, began-settleTime) || sim.editedSince(name, began-5*time.Minute) {
		return
	}
	s := sim.api.secrets[name]
	if s != nil && !managed(s) {
		return
	}
	sim.recordCheck(servedSoon)
	if s == nil {
		sim.recordViolation(servedSoon, "pod %s has waited for Secret %s for %s", p.name, name, sim.now-began)
		return
	}
	if _, usable := sim.sessionIn(s); usable <= 0 {
		sim.recordViolation(servedSoon, "pod %s finds no good credentials in Secret %s after %s", p.name, name, sim.now-began)
	}
}

// scheduleWithdrawnChecks schedules the check that Secrets are deleted whose right was withdrawn.
func (sim *simulator) scheduleWithdrawnChecks(namespace string) {
	if sim.cfg.alwaysAllow || sim.cfg.dryRun || len(sim.instances) != 1 {
		return
	}
	began, inst := sim.now, sim.instances[0]
	for _, name := range sorted(sim.api.secrets) {
		s := sim.api.secrets[name]
		_, usable := sim.sessionIn(s)
		if namespace != "" && name.Namespace != namespace || !managed(s) || usable < time.Minute || !inst.losesRight(name, began) {
			continue
		}
		sim.after(serveTimeout+3*time.Second, func() { sim.checkWithdrawn(inst, name, s.UID, began) })
	}
}

// disturbedSince reports whether there was a fault since then, or a change of a Secret or its
// AWSIAMRole.
func (sim *simulator) disturbedSince(name key, then time.Duration) bool {
	return !sim.faults.quiet(then, sim.now) || sim.editedSince(name, then) || sim.roleChangedAt[name] >= then && sim.roleChangedAt[name] > 0
}

// someMayHave reports whether one of those who ask for a Secret might have the role that it holds
// at some moment from one time to another.
func (inst *instance) someMayHave(name key, from, to time.Duration) bool {
	current, _ := inst.sim.sessionIn(inst.sim.api.secrets[name])
	arn, err := role.ParseARN(current.role)
	return err == nil && slices.ContainsFunc(inst.requestersOf(name, current), func(a requester) bool {
		return inst.sim.mayHave(name.Namespace, a.subject, arn, from, to)
	})
}

// losesRight reports whether a right that existed until then was the only one for a Secret.
func (inst *instance) losesRight(name key, then time.Duration) bool {
	now := inst.desired(name, then, then)
	return now.requested && !now.entitled && inst.someMayHave(name, then-1, then-1) && !inst.someMayHave(name, then, then)
}

func (sim *simulator) checkWithdrawn(inst *instance, name key, uid any, began time.Duration) {
	if !inst.alive || inst.tokens < 2 || sim.disturbedSince(name, began-time.Minute) || sim.accountChangedSince(name, began-time.Minute) {
		return
	}
	if inst.desired(name, began, sim.now).entitled || inst.someMayHave(name, began, sim.now) {
		return // it was given back, or serves until it expires
	}
	sim.recordCheck(withdrawnShows)
	s := sim.api.secrets[name]
	if s != nil && s.UID == uid && managed(s) && inst.desired(name, sim.now, sim.now).requested {
		sim.recordViolation(withdrawnShows, "Secret %s is there %s after its right was withdrawn", name, sim.now-began)
	}
}
