package simulation

import (
	"slices"
	"time"

	"kube-aws-iam-controller/pkg/role"
)

// tamperedSince reports whether somebody else changed or deleted a Secret since then.
func (w *World) tamperedSince(name key, then time.Duration) bool {
	at, ok := w.tampered[name]
	return ok && at >= then
}

// judgeStart checks what a pod finds that starts.
func (w *World) judgeStart(p *pod, name key) {
	s := w.api.secrets[name]
	if _, ok := w.ofPod(name); !ok || !managed(s) || w.tamperedSince(name, w.now-2*time.Minute) || !w.attended(w.now-2*time.Minute) {
		return
	}
	held, ok := w.sts.issued[accessKeyID(s)]
	if !ok {
		return // somebody brought it
	}
	w.exercised(noStartOnDead)
	if !held.expires.After(w.time()) {
		w.violated(noStartOnDead, "pod %s starts with Secret %s, dead since %s", p.name, name, w.time().Sub(held.expires))
	}
}

// attended reports whether a controller was at work since then, and could be, even if STS was away.
func (w *World) attended(since time.Duration) bool {
	return w.faults.quiet(since, w.now, faultSTSDown, faultSTSErrors, faultSTSSlow, faultIdentityLost, faultReviewsUndecided, faultReviewsWrong)
}

// judgeUse checks what a running pod calls AWS with.
func (w *World) judgeUse(p *pod, name key) {
	has, ok := p.reads[name]
	held, issued := w.sts.issued[has.accessKeyID]
	arn, asks := w.ofPod(name)
	if !ok || !issued || !asks || held.role != arn.String() || !w.served(arn) {
		return
	}
	w.judgeLife(p, name, held, arn)
}

// judgeLife checks that the credentials that a pod has in use are alive, if they could be renewed.
func (w *World) judgeLife(p *pod, name key, held session, arn role.ARN) {
	life := held.expires.Sub(epoch) - held.issued
	outages := w.faults.total(held.issued-settle, w.now)
	if w.tamperedSince(name, held.issued-settle) || outages > life/2-3*time.Minute || p.created > held.issued || w.instances[0].wanted(name, w.now, w.now).arn != held.role || !w.entitledThroughout(p, name, arn, held.issued-settle) {
		return
	}
	if outages > time.Minute {
		w.exercised(neverMeetsDead)
	}
	if !held.expires.After(w.time()) {
		w.violated(neverMeetsDead, "pod %s uses credentials of Secret %s, dead since %s, after outages of %s", p.name, name, w.time().Sub(held.expires), outages)
	}
}

// served reports whether a controller is there that a role lets in.
func (w *World) served(arn role.ARN) bool {
	return !w.sts.distrusts[arn.Name()] && len(w.instances) > 0
}

// entitledThroughout reports whether a pod might have a role all the time since then, by one
// grant, and nothing else decided over its Secret.
func (w *World) entitledThroughout(p *pod, name key, arn role.ARN, since time.Duration) bool {
	if w.api.roles[name] != nil || w.roleTouched[name] >= since && w.roleTouched[name] > 0 || w.leftSince(name.Namespace, since) {
		return false
	}
	if w.cfg.alwaysAllow || w.cfg.dryRun {
		return true
	}
	for _, g := range w.rbac.grants {
		if g.from <= max(0, since) && g.gives(name.Namespace, user(name.Namespace, p.serviceAccount), w.names(arn), w.now, w.now) {
			return true
		}
	}
	return false
}

// leftSince reports whether a namespace was being deleted since then.
func (w *World) leftSince(namespace string, since time.Duration) bool {
	at, ok := w.nsDeleted[namespace]
	return ok && at >= since
}

// soon is how long a new pod waits for its Secrets at the most, and a Secret whose right was
// withdrawn stays.
const soon = 30 * time.Second

// podCreated has it checked that a new pod is served.
func (w *World) podCreated(p *pod) {
	began := w.now
	w.after(soon, func() {
		if !w.pods.exists(p) || p.leaving || len(w.instances) == 0 || !w.faults.quiet(began-2*time.Minute, w.now) {
			return
		}
		for _, name := range p.secrets {
			w.judgeServed(p, name, began)
		}
	})
}

func (w *World) judgeServed(p *pod, name key, began time.Duration) {
	arn, asks := w.ofPod(name)
	if !asks || w.sts.distrusts[arn.Name()] || !w.entitledThroughout(p, name, arn, began-settle) || w.tamperedSince(name, began-5*time.Minute) {
		return
	}
	s := w.api.secrets[name]
	if s != nil && !managed(s) {
		return
	}
	w.exercised(servedSoon)
	if s == nil {
		w.violated(servedSoon, "pod %s has waited for Secret %s for %s", p.name, name, w.now-began)
		return
	}
	if _, usable := w.credentialsIn(s); usable <= 0 {
		w.violated(servedSoon, "pod %s finds no good credentials in Secret %s after %s", p.name, name, w.now-began)
	}
}

// withdrawn has it checked that a Secret goes whose right went.
func (w *World) withdrawn(namespace string) {
	if w.cfg.alwaysAllow || w.cfg.dryRun || len(w.instances) != 1 {
		return
	}
	began, inst := w.now, w.instances[0]
	for _, name := range sorted(w.api.secrets) {
		s := w.api.secrets[name]
		_, usable := w.credentialsIn(s)
		if namespace != "" && name.Namespace != namespace || !managed(s) || usable < time.Minute || !inst.loses(name, began) {
			continue
		}
		w.after(soon+3*time.Second, func() { w.judgeWithdrawn(inst, name, s.UID, began) })
	}
}

// disturbedSince reports whether there was a fault since then, or anybody changed a Secret or its
// AWSIAMRole.
func (w *World) disturbedSince(name key, then time.Duration) bool {
	return !w.faults.quiet(then, w.now) || w.tamperedSince(name, then) || w.roleTouched[name] >= then && w.roleTouched[name] > 0
}

// mayKeep reports whether one of those who ask for a Secret might have the role that it holds at
// some moment from one time to another.
func (inst *instance) mayKeep(name key, from, to time.Duration) bool {
	held, _ := inst.w.credentialsIn(inst.w.api.secrets[name])
	arn, err := role.ParseARN(held.role)
	return err == nil && slices.ContainsFunc(inst.askedBy(name, held), func(a asker) bool {
		return inst.w.mayHave(name.Namespace, a.subject, arn, from, to)
	})
}

// loses reports whether a Secret is to go because of a right that was there until then.
func (inst *instance) loses(name key, then time.Duration) bool {
	now := inst.wanted(name, then, then)
	return now.asked && !now.entitled && inst.mayKeep(name, then-1, then-1) && !inst.mayKeep(name, then, then)
}

func (w *World) judgeWithdrawn(inst *instance, name key, uid any, began time.Duration) {
	if !inst.alive || inst.tokens < 2 || w.disturbedSince(name, began-time.Minute) {
		return
	}
	if inst.wanted(name, began, w.now).entitled || inst.mayKeep(name, began, w.now) {
		return // it was given back, or serves until it expires
	}
	w.exercised(withdrawnShows)
	s := w.api.secrets[name]
	if s != nil && s.UID == uid && managed(s) && inst.wanted(name, w.now, w.now).asked {
		w.violated(withdrawnShows, "Secret %s is there %s after its right was withdrawn", name, w.now-began)
	}
}
