package simulation

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// judgeCall checks a call of AssumeRole before it is made.
func (w *World) judgeCall(t *task, s credentials.Session) {
	if w.isOwnRole(s.Role) {
		w.violated(ownRoleNeverIssued, "%s: AssumeRole of %s", t.key, s.Role)
	}
	if w.cfg.alwaysAllow || w.cfg.dryRun {
		return
	}
	allows, asked := t.inst.remembered(t.key).wasAllowed(w.names(s.Role))
	w.exercised(refusalStopsRenewal)
	if asked && !allows {
		w.violated(refusalStopsRenewal, "%s: AssumeRole of %s, which was refused last", t.key, s.Role)
	}
}

// judgeIssue checks what STS issues.
func (w *World) judgeIssue(t *task, s credentials.Session) {
	inst, name := t.inst, t.key
	w.exercised(oneSession)
	if want := inst.cluster + "." + name.Namespace + "." + name.Name; s.Name != want {
		w.violated(oneSession, "%s: a session called %s, not %s", name, s.Name, want)
	}
	w.judgePause(t)
	if w.cfg.alwaysAllow || w.cfg.dryRun {
		return
	}
	w.exercised(grantedAtIssue)
	from := t.began - apiLag
	for about, r := range inst.remembered(name).named {
		subject, _, _ := strings.Cut(about, " ")
		if r.state == allowed && w.rbac.allowed(name.Namespace, subject, w.names(s.Role), from, w.now) {
			return
		}
	}
	w.violated(grantedAtIssue, "%s: a session of %s, which nobody who asks for it may have", name, s.Role)
}

// judgePause checks how often one Secret's credentials are issued.
func (w *World) judgePause(t *task) {
	all := slices.Concat(t.inst.issues[t.key], []time.Duration{w.now})
	for len(all) > 0 && all[0] < w.now-10*time.Minute {
		all = all[1:]
	}
	t.inst.issues[t.key] = all
	var minute int
	for _, at := range all {
		if at > w.now-time.Minute {
			minute++
		}
	}
	if minute > 2 {
		w.exercised(leastPause)
	}
	most := 1
	if !w.faults.quiet(w.now-10*time.Minute, w.now, faultOtherWriter) { // what fails has pauses of its own
		most = 2
	}
	if minute > 10*most || len(all) > 21*most {
		w.violated(leastPause, "%s: %d issues in a minute, %d in ten", t.key, minute, len(all))
	}
}

// judgeWrite checks a write of a Secret in the moment in which it took effect.
func (w *World) judgeWrite(t *task, verb string, name key, before, after *corev1.Secret, given string, options *client.DeleteOptions) {
	if before != nil {
		w.exercised(foreignUntouched)
		if !managed(before) {
			w.violated(foreignUntouched, "%s of %s, which has labels %v, annotations %v, owners %v", verb, name, before.Labels, before.Annotations, before.OwnerReferences)
		}
		w.exercised(writesGuarded)
	}
	switch verb {
	case "delete":
		if p := options.Preconditions; p == nil || p.UID == nil || p.ResourceVersion == nil {
			w.violated(writesGuarded, "deletion of %s without preconditions", name)
		}
		w.judgeRemoval(t, before)
		return
	case "update":
		if given == "" {
			w.violated(writesGuarded, "update of %s without a resource version", name)
		}
	}
	if after.Type != corev1.SecretTypeOpaque {
		w.violated(writesGuarded, "%s is written as %s", name, after.Type)
	}
	w.judgeWritten(t, before, after)
}

// judgeWritten checks what a Secret holds after a write.
func (w *World) judgeWritten(t *task, before, after *corev1.Secret) {
	name := t.key
	held, _ := w.credentialsIn(after)
	if want := t.inst.cluster + "." + name.Namespace + "." + name.Name; held.name != want || held.role != string(after.Data[secret.RoleARNKey]) {
		if before == nil || accessKeyID(before) != accessKeyID(after) {
			w.violated(oneSession, "%s holds session %q of %q as %s", name, held.name, held.role, after.Data[secret.RoleARNKey])
		}
	}
}

const (
	// atLeastAlive is more than clocks may be wrong.
	atLeastAlive = 8 * time.Second
	// maxMargin is by how much a Secret may look dead too early that does not say any longer when
	// its session began.
	maxMargin = 5 * time.Minute
)

// judgeRemoval checks a deletion.
func (w *World) judgeRemoval(t *task, before *corev1.Secret) {
	inst, name := t.inst, t.key
	held, usable := w.credentialsIn(before)
	alive := usable > atLeastAlive
	if w.tamperedSince(name, held.issued) {
		alive = usable > atLeastAlive+maxMargin
	}
	now := inst.wanted(name, w.now-apiLag, w.now)
	switch {
	case !now.asked:
		w.judgeUnused(t, before, alive)
		return
	case !alive || w.cfg.alwaysAllow || !inst.machine.sure():
		w.Reached["deleted: dead, or without authorization"]++
		return
	case w.isOwn(held.role):
		w.Reached["deleted: of the own role"]++
		return
	}
	if now.entitled && now.arn == held.role {
		w.exercised(askedForNeverDeleted)
	}
	w.judgeRefused(t, before, held, usable)
}

// judgeRefused checks the deletion of living credentials that are asked for: all who ask must
// have been refused.
func (w *World) judgeRefused(t *task, before *corev1.Secret, held session, usable time.Duration) {
	inst, name := t.inst, t.key
	w.limitRemovals(inst)
	var refusedOnes int
	var brought bool // by an AWSIAMRole, whose refusal takes it away whatever the pods ask for
	for _, a := range inst.askedBy(name, held) {
		r := inst.remembered(name).of(a.subject, w.names(a.role))
		switch {
		case r.state == refused && brought, r.state != allowed && a.since > w.now-apiLag && !a.brought(before, held):
		case r.state == allowed || w.cfg.dryRun:
			w.violated(askedForNeverDeleted, "%s: deleted with %s left, and %s was not refused", name, usable, a.subject)
		case r.state == undecided:
			w.violated(undecidedTakesNothing, "%s: deleted with %s left, and a review of %s was undecided", name, usable, a.subject)
		default:
			refusedOnes++
			w.judgeRefusal(t, a, r.since(inst, inst.remembered(name), a, held), usable)
			brought = a.brought(before, held)
		}
	}
	if refusedOnes == 0 {
		w.Reached["deleted: asked for by nobody who may, or for a moment"]++
		return
	}
	w.judgeLimit(t)
}

// confirmedAfter is how long a refusal must last that a change explains, and unexplainedFor how
// long any other.
const (
	confirmedAfter = 10 * time.Second
	unexplainedFor = 5 * time.Minute
)

// judgeRefusal checks a deletion that one of those who asked was refused before.
func (w *World) judgeRefusal(t *task, a asker, r run, usable time.Duration) {
	w.exercised(refusalConfirmed)
	lasts := r.last - r.first
	switch {
	case lasts < confirmedAfter:
		w.violated(refusalConfirmed, "%s: deleted with %s left after %d refusals of %s in %s", t.key, usable, r.refusals, a.subject, lasts)
	case !t.inst.sawChange(t.key.Namespace, r.allowed-settle) && lasts < unexplainedFor:
		w.violated(refusalConfirmed, "%s: deleted with %s left after refusals of %s for %s that nothing explains", t.key, usable, a.subject, lasts)
	}
}

// limitRemovals counts what is deleted while it is asked for.
func (w *World) limitRemovals(inst *instance) {
	perMinute := max(10, float64(len(inst.cache.secrets))/100)
	inst.tokens = min(10, inst.tokens+perMinute*(w.now-inst.tokensAt).Minutes()) - 1
	inst.tokensAt = w.now
}

// judgeLimit checks how many are deleted for refusals.
func (w *World) judgeLimit(t *task) {
	if t.inst.tokens < 5 {
		w.exercised(removalsLimited)
	}
	if t.inst.tokens < -1 {
		w.violated(removalsLimited, "%s: deleted as one too many", t.key)
		t.inst.tokens = 0
	}
}

// judgeUnused checks the deletion of what nobody asks for.
func (w *World) judgeUnused(t *task, before *corev1.Secret, alive bool) {
	inst := t.inst
	if !alive || secret.OfAWSIAMRole(before) || w.tamperedSince(t.key, inst.left[t.key]) {
		w.Reached["deleted: unused and dead, of an AWSIAMRole or brought"]++
		return
	}
	since := max(inst.left[t.key], inst.began)
	w.exercised(unusedKeptForGrace)
	if left := since + w.cfg.grace - w.now; left > 2*time.Second && inst.machine.sure() {
		w.violated(unusedKeptForGrace, "%s: deleted %s before the grace period was over", t.key, left)
	}
}

// burst counts reconciles in one second.
type burst struct {
	second time.Duration
	count  int
}

// most is how many reconciles of one key there may be in a second.
const most = 30

// reconcileBegins checks that a key is not reconciled without pause.
func (w *World) reconcileBegins(t *task) {
	w.Steps++
	b := t.inst.reconciles[t.key]
	if second := w.now.Truncate(time.Second); b.second != second {
		b = burst{second: second}
	}
	b.count++
	t.inst.reconciles[t.key] = b
	if b.count > 2 {
		w.exercised(noHotLoop)
	}
	if b.count == most+1 {
		w.violated(noHotLoop, "%s: more than %d reconciles in a second", t.key, most)
	}
}

// reconcileEnds checks that what is to be looked at again is.
func (w *World) reconcileEnds(t *task, result reconcile.Result, err error) {
	w.exercised(noPanic)
	inst, name := t.inst, t.key
	if err != nil || result.RequeueAfter > 0 {
		return
	}
	w.exercised(comesBack)
	s := inst.cache.secrets[name]
	asked := inst.wanted(name, w.now, w.now).asked
	if _, waits := inst.queue.items[name]; !waits && (asked || managed(s)) {
		w.violated(comesBack, "%s: asked for: %t, managed: %t, and not looked at again", name, asked, managed(s))
	}
}
