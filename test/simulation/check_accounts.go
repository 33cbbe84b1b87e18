package simulation

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// checkAccountIssue checks a session of a ServiceAccount's Secret: a pod of that ServiceAccount
// asks for it, and its role is what the annotation said since the reconcile began.
func (sim *simulator) checkAccountIssue(t *task, s credentials.Session) {
	inst, name := t.inst, t.key
	if _, ok := accountOf(name); !ok {
		return
	}
	sim.recordCheck(strangersGetNothing)
	if len(inst.cache.podsRequesting(name)) == 0 && inst.unusedSince[name] < t.began {
		sim.recordViolation(strangersGetNothing, "%s: a session of %s, and no pod of the ServiceAccount asks for it", name, s.Role)
	}
	sim.recordCheck(accountsOwnSession)
	seen := inst.cache.accountsSince(name, t.began)
	if !slices.ContainsFunc(seen, func(a seenAccount) bool {
		arn, ok := sim.roleOfAccount(a.accountState)
		return ok && arn == s.Role
	}) {
		sim.recordViolation(accountsOwnSession, "%s: a session of %s, and the ServiceAccount asks for %s", name, s.Role, describeAccounts(seen))
	}
}

// checkAccountWritten checks that new credentials in a ServiceAccount's Secret are for a UID that
// the instance knew since the reconcile began.
func (sim *simulator) checkAccountWritten(t *task, before, after *corev1.Secret) {
	if _, ok := accountOf(t.key); !ok || before != nil && accessKeyID(before) == accessKeyID(after) {
		return
	}
	seen, uid := t.inst.cache.accountsSince(t.key, t.began), after.Annotations[secret.ServiceAccountUIDAnnotation]
	if !slices.ContainsFunc(seen, func(a seenAccount) bool { return a.accountState != nil && string(a.uid) == uid }) {
		sim.recordViolation(accountsOwnSession, "%s: written for uid %q, and the ServiceAccount is %s", t.key, uid, describeAccounts(seen))
	}
}

// isOfPredecessor reports whether a Secret has a session of a ServiceAccount that was deleted and
// created again, as the instance knew since the reconcile began and as is true.
func (t *task) isOfPredecessor(s *corev1.Secret) bool {
	uid := s.Annotations[secret.ServiceAccountUIDAnnotation]
	of, _ := accountOf(t.key)
	if now := t.inst.sim.accounts.all[of]; now != nil && string(now.uid) == uid {
		return false
	}
	return uid != "" && slices.ContainsFunc(t.inst.cache.accountsSince(t.key, t.began), func(a seenAccount) bool {
		return a.accountState != nil && a.reference != "" && string(a.uid) != uid
	})
}

func describeAccounts(seen []seenAccount) string {
	var all []string
	for _, a := range seen {
		if a.accountState == nil {
			all = append(all, "none")
			continue
		}
		all = append(all, string(a.uid)+" of "+a.reference)
	}
	return strings.Join(all, ", then ")
}

// checkKeptWithoutRole checks the deletion of a ServiceAccount's Secret with valid credentials: not
// because the ServiceAccount asks for no role that it can have.
func (sim *simulator) checkKeptWithoutRole(t *task, current session, usable time.Duration) {
	if _, ok := accountOf(t.key); !ok || sim.editedSince(t.key, current.issued) {
		return
	}
	asks := func(a seenAccount) bool { // for the controller's own role without a right to it, too
		_, ok := sim.roleOfAccount(a.accountState)
		return ok || a.accountState != nil && strings.Contains(strings.ToLower(a.reference), ownRole)
	}
	seen := t.inst.cache.accountsSince(t.key, t.began)
	if slices.ContainsFunc(seen, asks) {
		return
	}
	sim.recordViolation(withoutRoleKept, "%s: deleted with %s left, and the ServiceAccount is %s", t.key, usable, describeAccounts(seen))
}

// countKeptWithoutRole counts how often a Secret was kept whose ServiceAccount asks for no role.
func (sim *simulator) countKeptWithoutRole(t *task) {
	of, ok := accountOf(t.key)
	if !ok || len(t.inst.cache.podsRequesting(t.key)) == 0 {
		return
	}
	if _, asks := sim.roleOfAccount(t.inst.cache.accounts[of]); asks {
		return
	}
	if _, usable := sim.sessionIn(sim.api.secrets[t.key]); usable > 0 {
		sim.recordCheck(withoutRoleKept)
	}
}

// scheduleAccountCheck schedules the check that the Secret of a ServiceAccount that changed has a
// session of its own.
func (sim *simulator) scheduleAccountCheck(name key) {
	began := sim.now
	sim.after(serveTimeout, func() {
		if len(sim.instances) == 0 || sim.accountChangedSince(name, began+1) || sim.disturbedSince(name, began-2*time.Minute) {
			return
		}
		sim.checkAccountSession(name, began)
	})
}

// checkAccountSession checks that the session in a Secret was issued since its ServiceAccount
// changed, or for the same role and UID before, if a pod had the right to it since then.
func (sim *simulator) checkAccountSession(name key, began time.Duration) {
	of, _ := accountOf(name)
	a, s := sim.accounts.all[of], sim.api.secrets[name]
	sim.checkNoPredecessor(name, s, a, began)
	arn, valid := sim.roleOfAccount(a)
	if !valid || !sim.canFollow(of, name, arn, began) || sim.isUnmanaged(name) || isImmutable(s) {
		return
	}
	sim.recordCheck(accountsOwnSession)
	current, _ := sim.sessionIn(s)
	if s == nil || current.role != arn.String() || s.Annotations[secret.ServiceAccountUIDAnnotation] != string(a.uid) {
		sim.recordViolation(accountsOwnSession, "%s: a session of %q %s after the ServiceAccount was %s of %s", name, current.role, sim.now-began, a.uid, arn)
	}
}

// checkNoPredecessor checks that a Secret has no session of a ServiceAccount that was deleted and
// created again.
func (sim *simulator) checkNoPredecessor(name key, s *corev1.Secret, a *accountState, began time.Duration) {
	if s == nil || a == nil || a.reference == "" || sim.isUnmanaged(name) || sim.editedSince(name, began) {
		return
	}
	sim.recordCheck(accountsOwnSession)
	if uid := s.Annotations[secret.ServiceAccountUIDAnnotation]; uid != "" && uid != string(a.uid) {
		sim.recordViolation(accountsOwnSession, "%s: a session of ServiceAccount %s %s after it was created again as %s", name, uid, sim.now-began, a.uid)
	}
}

// canFollow reports whether nothing kept a Secret from getting the role of its ServiceAccount since
// then: a pod asks for it and has the right, and STS and the pauses between issues allow it.
func (sim *simulator) canFollow(of, name key, arn role.ARN, began time.Duration) bool {
	return !sim.sts.distrusts[arn.Name()] && sim.entitledSince(of.Namespace, of.Name, arn, began-settleTime) &&
		!sim.terminatingSince(of.Namespace, began-time.Minute) && !sim.paced(name, began) && sim.hasPodSince(name, began)
}

// isImmutable reports whether another writer made a Secret immutable.
func isImmutable(s *corev1.Secret) bool { return s != nil && s.Immutable != nil && *s.Immutable }

// pauseForgotten is longer than the time without an issue after which the next ones are not paced.
const pauseForgotten = 2*time.Minute + 10*time.Second

// paced reports whether a Secret was issued so often that the next issue could wait.
func (sim *simulator) paced(name key, began time.Duration) bool {
	for _, inst := range sim.instances {
		n, next := 0, began
		for _, at := range slices.Backward(inst.issues[name]) {
			switch {
			case at > began:
				continue
			case at < next-pauseForgotten:
				n = 0
			}
			n, next = n+1, at
			if n > 2 {
				return true
			}
		}
	}
	return false
}

// hasPodSince reports whether a pod that can have a Secret has asked for it since then.
func (sim *simulator) hasPodSince(name key, then time.Duration) bool {
	for _, p := range sim.pods.all {
		if p.created < then && sim.pods.exists(p) && !p.terminating && slices.Contains(p.secrets, name) && !p.isStranger(name) {
			return true
		}
	}
	return false
}
