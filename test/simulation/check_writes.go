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
	"kube-aws-iam-controller/pkg/secret/keys"
)

// checkCall checks a call of AssumeRole before it is made.
func (sim *simulator) checkCall(t *task, s credentials.Session) {
	if sim.isOwnRole(s.Role) {
		sim.recordViolation(ownRoleNeverIssued, "%s: AssumeRole of %s", t.key, s.Role)
	}
	if sim.cfg.alwaysAllow || sim.cfg.dryRun {
		return
	}
	allows, asked := t.inst.reviewsOf(t.key).wasAllowed(sim.names(s.Role))
	sim.recordCheck(denialStopsRenewal)
	if asked && !allows {
		sim.recordViolation(denialStopsRenewal, "%s: AssumeRole of %s, which was refused last", t.key, s.Role)
	}
}

// checkIssue checks what STS issues.
func (sim *simulator) checkIssue(t *task, s credentials.Session) {
	inst, name := t.inst, t.key
	sim.recordCheck(oneSession)
	if want := inst.cluster + "." + name.Namespace + "." + name.Name; s.Name != want {
		sim.recordViolation(oneSession, "%s: a session called %s, not %s", name, s.Name, want)
	}
	sim.checkPause(t)
	sim.checkAccountIssue(t, s)
	if sim.cfg.alwaysAllow || sim.cfg.dryRun {
		return
	}
	sim.recordCheck(grantedAtIssue)
	from := t.began - authorizerLag
	for about, r := range inst.reviewsOf(name).named {
		subject, _, _ := strings.Cut(about, " ")
		if r.state == allowed && sim.rbac.allowed(name.Namespace, subject, sim.names(s.Role), from, sim.now) {
			return
		}
	}
	sim.recordViolation(grantedAtIssue, "%s: a session of %s, which no requester may assume", name, s.Role)
}

// checkPause checks how often one Secret's credentials are issued.
func (sim *simulator) checkPause(t *task) {
	all := slices.Concat(t.inst.issues[t.key], []time.Duration{sim.now})
	for len(all) > 0 && all[0] < sim.now-10*time.Minute {
		all = all[1:]
	}
	t.inst.issues[t.key] = all
	var minute int
	for _, at := range all {
		if at > sim.now-time.Minute {
			minute++
		}
	}
	if minute > 2 {
		sim.recordCheck(leastPause)
	}
	most := 1
	if !sim.faults.quiet(sim.now-10*time.Minute, sim.now, faultOtherWriter) { // what fails has pauses of its own
		most = 2
	}
	if minute > 10*most || len(all) > 21*most {
		sim.recordViolation(leastPause, "%s: %d issues in a minute, %d in ten", t.key, minute, len(all))
	}
}

// checkWrite checks a write of a Secret at the time at which it takes effect.
func (sim *simulator) checkWrite(t *task, verb string, name key, before, after *corev1.Secret, given string, options *client.DeleteOptions) {
	if before != nil {
		sim.recordCheck(unmanagedUntouched)
		if !managed(before) {
			sim.recordViolation(unmanagedUntouched, "%s of %s, which has labels %v, annotations %v, owners %v", verb, name, before.Labels, before.Annotations, before.OwnerReferences)
		}
		sim.recordCheck(writesGuarded)
	}
	switch verb {
	case "delete":
		if p := options.Preconditions; p == nil || p.UID == nil || p.ResourceVersion == nil {
			sim.recordViolation(writesGuarded, "deletion of %s without preconditions", name)
		}
		sim.checkDeletion(t, before)
		return
	case "update":
		if given == "" {
			sim.recordViolation(writesGuarded, "update of %s without a resource version", name)
		}
	}
	if after.Type != corev1.SecretTypeOpaque {
		sim.recordViolation(writesGuarded, "%s is written as %s", name, after.Type)
	}
	sim.checkWritten(t, before, after)
}

// checkWritten checks what a Secret holds after a write.
func (sim *simulator) checkWritten(t *task, before, after *corev1.Secret) {
	name := t.key
	sim.checkAccountWritten(t, before, after)
	current, _ := sim.sessionIn(after)
	if want := t.inst.cluster + "." + name.Namespace + "." + name.Name; current.name != want || current.role != string(after.Data[keys.RoleARN]) {
		if before == nil || accessKeyID(before) != accessKeyID(after) {
			sim.recordViolation(oneSession, "%s holds session %q of %q as %s", name, current.name, current.role, after.Data[keys.RoleARN])
		}
	}
}

const (
	// clockTolerance is more than the largest error of a clock.
	clockTolerance = 8 * time.Second
	// maxExpiryMargin is the largest margin before the expiry at which a Secret without a time of
	// issue counts as expired.
	maxExpiryMargin = 5 * time.Minute
)

// checkDeletion checks a deletion.
func (sim *simulator) checkDeletion(t *task, before *corev1.Secret) {
	inst, name := t.inst, t.key
	current, usable := sim.sessionIn(before)
	alive := usable > clockTolerance
	if sim.editedSince(name, current.issued) {
		alive = usable > clockTolerance+maxExpiryMargin
	}
	now := inst.desired(name, sim.now-authorizerLag, sim.now)
	switch {
	case t.isOfPredecessor(before):
		sim.Reached["deleted: of a ServiceAccount that was created again"]++
		return
	case !now.requested:
		sim.checkUnusedDeletion(t, before, alive)
		return
	case !alive || sim.cfg.alwaysAllow || !inst.host.trusted():
		sim.Reached["deleted: dead, or without authorization"]++
		return
	case sim.isOwnARN(current.role):
		sim.Reached["deleted: of the own role"]++
		return
	}
	sim.checkKeptWithoutRole(t, current, usable)
	if now.entitled && now.arn == current.role {
		sim.recordCheck(requestedNeverDeleted)
	}
	sim.checkDeniedDeletion(t, before, current, usable)
}

// checkDeniedDeletion checks the deletion of valid credentials that are requested: all requesters
// must have been denied.
func (sim *simulator) checkDeniedDeletion(t *task, before *corev1.Secret, current session, usable time.Duration) {
	inst, name := t.inst, t.key
	sim.countDeletion(inst)
	var deniedCount int
	var isHolder bool // of an AWSIAMRole, whose denial is enough, whatever the pods request
	for _, a := range inst.requestersOf(name, current) {
		r := inst.reviewsOf(name).historyOf(a.subject, sim.names(a.role))
		switch {
		case r.state == denied && isHolder, r.state != allowed && a.since > sim.now-authorizerLag && !a.isHolder(before, current):
		case r.state == allowed || sim.cfg.dryRun:
			sim.recordViolation(requestedNeverDeleted, "%s: deleted with %s left, and %s was not refused", name, usable, a.subject)
		case r.state == undecided:
			sim.recordViolation(undecidedTakesNothing, "%s: deleted with %s left, and a review of %s was undecided", name, usable, a.subject)
		default:
			deniedCount++
			sim.checkConfirmation(t, a, r.fromFirstDenial(inst, inst.reviewsOf(name), a, current), usable)
			isHolder = a.isHolder(before, current)
		}
	}
	if deniedCount == 0 {
		sim.Reached["deleted: no requester may have it, or only briefly"]++
		return
	}
	sim.checkDeletionLimit(t)
}

// confirmedAfter is how long a refusal must last that a change explains, and unexplainedFor how
// long any other.
const (
	confirmationDelay = 10 * time.Second
	unexplainedDelay  = 5 * time.Minute
)

// checkConfirmation checks that the denial of one requester was confirmed before the deletion.
func (sim *simulator) checkConfirmation(t *task, a requester, r reviewHistory, usable time.Duration) {
	sim.recordCheck(denialConfirmed)
	lasts := r.last - r.first
	switch {
	case lasts < confirmationDelay:
		sim.recordViolation(denialConfirmed, "%s: deleted with %s left after %d refusals of %s in %s", t.key, usable, r.denials, a.subject, lasts)
	case !t.inst.sawPolicyChange(t.key.Namespace, r.allowed-settleTime) && lasts < unexplainedDelay:
		sim.recordViolation(denialConfirmed, "%s: deleted with %s left after refusals of %s for %s that nothing explains", t.key, usable, a.subject, lasts)
	}
}

// countDeletion takes a token of the limit of deletions for denials.
func (sim *simulator) countDeletion(inst *instance) {
	perMinute := max(10, float64(len(inst.cache.secrets))/100)
	inst.tokens = min(10, inst.tokens+perMinute*(sim.now-inst.tokensAt).Minutes()) - 1
	inst.tokensAt = sim.now
}

// checkDeletionLimit checks the rate of deletions for denials.
func (sim *simulator) checkDeletionLimit(t *task) {
	if t.inst.tokens < 5 {
		sim.recordCheck(deletionsLimited)
	}
	if t.inst.tokens < -1 {
		sim.recordViolation(deletionsLimited, "%s: deleted as one too many", t.key)
		t.inst.tokens = 0
	}
}

// checkUnusedDeletion checks the deletion of a Secret that has no requester.
func (sim *simulator) checkUnusedDeletion(t *task, before *corev1.Secret, alive bool) {
	inst := t.inst
	if !alive || secret.BelongsToAWSIAMRole(before) || sim.editedSince(t.key, inst.unusedSince[t.key]) {
		sim.Reached["deleted: unused and dead, of an AWSIAMRole or brought"]++
		return
	}
	since := max(inst.unusedSince[t.key], inst.began)
	sim.recordCheck(unusedKeptForGrace)
	if left := since + sim.cfg.grace - sim.now; left > 2*time.Second && inst.host.trusted() {
		sim.recordViolation(unusedKeptForGrace, "%s: deleted %s before the grace period was over", t.key, left)
	}
}

// reconcileCount counts reconciles in one second.
type reconcileCount struct {
	second time.Duration
	count  int
}

// maxReconciles is the limit for reconciles of one key in a second.
const maxReconciles = 30

// reconcileBegins checks that a key is not reconciled without pause.
func (sim *simulator) reconcileBegins(t *task) {
	sim.Steps++
	b := t.inst.reconciles[t.key]
	if second := sim.now.Truncate(time.Second); b.second != second {
		b = reconcileCount{second: second}
	}
	b.count++
	t.inst.reconciles[t.key] = b
	if b.count > 2 {
		sim.recordCheck(noHotLoop)
	}
	if b.count == maxReconciles+1 {
		sim.recordViolation(noHotLoop, "%s: more than %d reconciles in a second", t.key, maxReconciles)
	}
}

// reconcileEnds checks that the key is queued again while there is something to do.
func (sim *simulator) reconcileEnds(t *task, result reconcile.Result, err error) {
	sim.recordCheck(noPanic)
	inst, name := t.inst, t.key
	sim.countKeptWithoutRole(t)
	if err != nil || result.RequeueAfter > 0 {
		return
	}
	sim.recordCheck(requeued)
	s := inst.cache.secrets[name]
	asked := inst.desired(name, sim.now, sim.now).requested
	if _, waits := inst.queue.items[name]; !waits && (asked || managed(s)) {
		sim.recordViolation(requeued, "%s: asked for: %t, managed: %t, and not looked at again", name, asked, managed(s))
	}
}
