package simulation

import (
	"strings"
	"time"
)

// scheduleMemoryChecks periodically checks the number of entries that the controller keeps.
func (sim *simulator) scheduleMemoryChecks() {
	sim.every(10*time.Minute, func() bool {
		if !sim.healed && sim.faults.quiet(sim.now-10*time.Minute, sim.now) {
			sim.checkMemory()
		}
		return !sim.healed
	})
}

func (sim *simulator) checkMemory() {
	for _, inst := range sim.instances {
		if sim.now-inst.began < 10*time.Minute {
			continue
		}
		sim.recordCheck(boundedMemory)
		asked := map[key]bool{}
		for _, p := range inst.cache.pods {
			for _, s := range p.secrets {
				asked[s] = true
			}
		}
		// A deleted object is reconciled once more before it is forgotten.
		bound := len(unionKeys(unionKeys(asked, inst.cache.secrets), inst.cache.roles)) + len(inst.cache.pods) + 10
		for what, n := range inst.core.Sizes() {
			limit := bound
			switch what {
			case "changes": // of namespaces, of which there are some
				limit = 10
			case "decisions": // about two roles, for each of three ServiceAccounts and the namespace
				limit *= 8
			}
			if n > limit {
				sim.recordViolation(boundedMemory, "%d entries of %q, where %d Secrets are there or asked for", n, what, bound-10)
			}
		}
	}
}

// checkEnd checks the state of the cluster after all faults have ended.
func (sim *simulator) checkEnd() {
	sim.checkMemory()
	inst := sim.instances[0]
	asked := map[key]bool{}
	for _, name := range sorted(sim.pods.all) {
		p := sim.pods.all[name]
		if !sim.pods.exists(p) {
			continue
		}
		for _, s := range p.secrets {
			if !p.isStranger(s) {
				asked[s] = true
			}
			sim.checkPodAtEnd(inst, p, s)
		}
	}
	for name, r := range sim.api.roles {
		asked[name] = true
		arn, _, valid := inst.ofAWSIAMRole(name)
		if valid && sim.mayHave(name.Namespace, group(name.Namespace), arn, sim.now, sim.now) && !sim.sts.distrusts[arn.Name()] {
			sim.checkCredentialsAtEnd(name, arn.String(), "AWSIAMRole "+r.Name)
		}
	}
	sim.checkLeftovers(asked)
}

// checkLeftovers checks that no Secret of the controller is left that no object asks for.
func (sim *simulator) checkLeftovers(asked map[key]bool) {
	for _, name := range sorted(sim.api.secrets) {
		s := sim.api.secrets[name]
		if !managed(s) {
			continue
		}
		sim.recordCheck(healedNoneLeft)
		if !asked[name] {
			sim.recordViolation(healedNoneLeft, "Secret %s is left, with labels %v", name, s.Labels)
		}
		current, known := sim.sts.issued[accessKeyID(s)]
		if !known || !saysExpiry(s, current) {
			continue // another writer wrote when it expires, and it stays until then
		}
		if _, ok := sim.ofPods(name, sim.accounts.all); !ok && strings.HasPrefix(name.Name, accountSecret("")) {
			sim.recordViolation(healedNoneLeft, "Secret %s is left, and its ServiceAccount asks for no role", name)
		}
	}
}

// isUnmanaged reports whether a Secret exists that the controller does not manage.
func (sim *simulator) isUnmanaged(name key) bool {
	s := sim.api.secrets[name]
	return s != nil && !managed(s)
}

// checkPodAtEnd checks the credentials or events of a pod at the end.
func (sim *simulator) checkPodAtEnd(inst *instance, p *pod, name key) {
	arn, valid := sim.ofPod(p, name)
	warned := func(reasons ...string) bool {
		for _, r := range reasons {
			if sim.eventLog.warnings[p.uid][r] > 0 {
				return true
			}
		}
		return false
	}
	now := inst.desired(name, sim.now, sim.now)
	mayHave := valid && sim.mayHave(name.Namespace, user(name.Namespace, p.serviceAccount), arn, sim.now, sim.now)
	switch {
	case now.byAWSIAMRole: // the AWSIAMRole decides
	case !mayHave:
		sim.recordCheck(healedDeniedHaveEvent)
		if !warned("RoleForbidden", "InvalidRole", "ServiceAccountWithoutRole") {
			sim.recordViolation(healedDeniedHaveEvent, "pod %s may not have %s and has only the events %v", p.name, name, sim.eventLog.warnings[p.uid])
		}
	case sim.sts.distrusts[arn.Name()]:
		if !sim.isUnmanaged(name) && !warned("GetCredentialsFailed") {
			sim.recordViolation(healedDeniedHaveEvent, "pod %s gets no credentials of %s, whose role distrusts the controller, and has only the events %v", p.name, name, sim.eventLog.warnings[p.uid])
		}
	default:
		sim.checkCredentialsAtEnd(name, arn.String(), "pod "+p.name.Name)
	}
}

// checkCredentialsAtEnd checks that a Secret has valid credentials of a role.
func (sim *simulator) checkCredentialsAtEnd(name key, arn, of string) {
	s := sim.api.secrets[name]
	if s != nil && !managed(s) || isImmutable(s) {
		return // another writer's
	}
	sim.recordCheck(healedEntitled)
	if s == nil {
		sim.recordViolation(healedEntitled, "%s has no Secret %s", of, name)
		return
	}
	current, usable := sim.sessionIn(s)
	if usable < time.Minute || !strings.EqualFold(current.role, arn) {
		sim.recordViolation(healedEntitled, "%s has in Secret %s credentials of %q for %s, not of %s", of, name, current.role, usable, arn)
	}
}
