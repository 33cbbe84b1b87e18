package simulation

import (
	"strings"
	"time"
)

// watchMemory checks from time to time how much is remembered.
func (w *World) watchMemory() {
	w.every(10*time.Minute, func() bool {
		if !w.healed && w.faults.quiet(w.now-10*time.Minute, w.now) {
			w.judgeMemory()
		}
		return !w.healed
	})
}

func (w *World) judgeMemory() {
	for _, inst := range w.instances {
		if w.now-inst.began < 10*time.Minute {
			continue
		}
		w.exercised(boundedMemory)
		asked := map[key]bool{}
		for _, p := range inst.cache.pods {
			for _, s := range p.secrets {
				asked[s] = true
			}
		}
		// What went a moment ago is looked at once more before it is forgotten.
		bound := len(both(both(asked, inst.cache.secrets), inst.cache.roles)) + len(inst.cache.pods) + 10
		for what, n := range inst.core.Sizes() {
			limit := bound
			if what == "changes" { // of namespaces, of which there are some
				limit = 10
			}
			if n > limit {
				w.violated(boundedMemory, "%d entries of %q, where %d Secrets are there or asked for", n, what, bound-10)
			}
		}
	}
}

// judgeEnd checks what is there after everything has healed.
func (w *World) judgeEnd() {
	w.judgeMemory()
	inst := w.instances[0]
	asked := map[key]bool{}
	for _, name := range sorted(w.pods.all) {
		p := w.pods.all[name]
		if !w.pods.exists(p) {
			continue
		}
		for _, s := range p.secrets {
			asked[s] = true
			w.judgeEndOf(inst, p, s)
		}
	}
	for name, r := range w.api.roles {
		asked[name] = true
		arn, _, valid := inst.ofAWSIAMRole(name)
		if valid && w.mayHave(name.Namespace, group(name.Namespace), arn, w.now, w.now) && !w.sts.distrusts[arn.Name()] {
			w.judgeEndCredentials(name, arn.String(), "AWSIAMRole "+r.Name)
		}
	}
	for _, name := range sorted(w.api.secrets) {
		s := w.api.secrets[name]
		if !managed(s) {
			continue
		}
		w.exercised(healedNoneLeft)
		if !asked[name] {
			w.violated(healedNoneLeft, "Secret %s is left, with labels %v", name, s.Labels)
		}
	}
}

// inTheWay reports whether a Secret of a name is not the controller's.
func (w *World) inTheWay(name key) bool {
	s := w.api.secrets[name]
	return s != nil && !managed(s)
}

// judgeEndOf checks what a pod has in the end.
func (w *World) judgeEndOf(inst *instance, p *pod, name key) {
	arn, valid := w.ofPod(name)
	warned := func(reasons ...string) bool {
		for _, r := range reasons {
			if w.told.warnings[p.uid][r] > 0 {
				return true
			}
		}
		return false
	}
	now := inst.wanted(name, w.now, w.now)
	mayHave := valid && w.mayHave(name.Namespace, user(name.Namespace, p.serviceAccount), arn, w.now, w.now)
	switch {
	case now.byRole: // the AWSIAMRole decides
	case !mayHave:
		w.exercised(healedRefusedAreTold)
		if !warned("RoleForbidden", "InvalidRole") {
			w.violated(healedRefusedAreTold, "pod %s may not have %s and was told nothing but %v", p.name, name, w.told.warnings[p.uid])
		}
	case w.sts.distrusts[arn.Name()]:
		if !w.inTheWay(name) && !warned("GetCredentialsFailed") {
			w.violated(healedRefusedAreTold, "pod %s gets no credentials of %s, whose role distrusts the controller, and was told nothing but %v", p.name, name, w.told.warnings[p.uid])
		}
	default:
		w.judgeEndCredentials(name, arn.String(), "pod "+p.name.Name)
	}
}

// judgeEndCredentials checks that a Secret has living credentials of a role.
func (w *World) judgeEndCredentials(name key, arn, of string) {
	s := w.api.secrets[name]
	if s != nil && !managed(s) || s != nil && s.Immutable != nil && *s.Immutable {
		return // somebody else's
	}
	w.exercised(healedEntitled)
	if s == nil {
		w.violated(healedEntitled, "%s has no Secret %s", of, name)
		return
	}
	held, usable := w.credentialsIn(s)
	if usable < time.Minute || !strings.EqualFold(held.role, arn) {
		w.violated(healedEntitled, "%s has in Secret %s credentials of %q for %s, not of %s", of, name, held.role, usable, arn)
	}
}
