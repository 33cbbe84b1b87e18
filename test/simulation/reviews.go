package simulation

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// reviewLog has the results of an instance's reviews for one Secret.
type reviewLog struct {
	// named is by subject and role name, with a space in between.
	named map[string]*reviewHistory
	// deniedSince is the time of the first denial that no allowing review followed.
	deniedSince time.Duration
}

// reviewHistory has the results of the last reviews of one subject and one role name.
type reviewHistory struct {
	// state is the last result.
	state reviewResult
	// denials counts consecutive denials, without undecided reviews; first and last are their
	// times.
	denials     int
	first, last time.Duration
	// allowed is the time of the last review that allowed it, or of the start of the instance.
	allowed time.Duration
}

// recordReview records the result of a review of this reconcile.
func (t *task) recordReview(subject, name string, l reviewResult) {
	inst, sim := t.inst, t.inst.sim
	m := inst.reviewsOf(t.key)
	about := subject + " " + name
	r := m.named[about]
	if r == nil {
		r = &reviewHistory{allowed: inst.began}
		m.named[about] = r
	}
	r.state = l
	switch l {
	case allowed:
		r.denials, r.allowed, m.deniedSince = 0, sim.now, 0
	case denied:
		if m.deniedSince == 0 {
			m.deniedSince = t.began
		}
		if r.denials == 0 {
			r.first = t.began
		}
		r.denials++
		r.last = sim.now
	case undecided:
		if current, usable := sim.sessionIn(sim.api.secrets[t.key]); usable > 0 && current.role != "" {
			sim.recordCheck(undecidedTakesNothing)
		}
	}
}

// reviewsOf returns the instance's reviews for a Secret.
func (inst *instance) reviewsOf(name key) *reviewLog {
	m := inst.reviews[name]
	if m == nil {
		m = &reviewLog{named: map[string]*reviewHistory{}}
		inst.reviews[name] = m
	}
	return m
}

// historyOf returns the history of a subject and a role, which is denied if all its names are.
func (m *reviewLog) historyOf(subject string, names []string) reviewHistory {
	var all reviewHistory
	for _, name := range names {
		one := m.named[subject+" "+name]
		switch {
		case one == nil:
		case one.state == allowed:
			return *one
		case all.allowed == 0:
			all = *one
		default:
			if one.state == undecided {
				all.state = undecided
			}
			all.first, all.last = max(all.first, one.first), min(all.last, one.last)
			all.denials, all.allowed = min(all.denials, one.denials), max(all.allowed, one.allowed)
		}
	}
	return all
}

// fromFirstDenial returns the history that counts for a requester. It begins with the first denial
// of the Secret for requesters that came after it, or never had the role that the Secret holds.
func (r reviewHistory) fromFirstDenial(inst *instance, m *reviewLog, a requester, current session) reviewHistory {
	if r.denials > 0 && m.deniedSince > 0 && (a.since > m.deniedSince || r.allowed == inst.began || a.role.String() != current.role) {
		r.first = min(r.first, m.deniedSince)
	}
	return r
}

// sawPolicyChange reports whether an instance saw a change of grants in a namespace since then.
func (inst *instance) sawPolicyChange(namespace string, since time.Duration) bool {
	for _, scope := range []string{namespace, ""} {
		if at, ok := inst.policyChangedAt[scope]; ok && at >= since {
			return true
		}
	}
	return false
}

// wasAllowed reports whether the last decided review of any subject allowed a role by one of its
// names, and whether there was a decided review.
func (m *reviewLog) wasAllowed(names []string) (allows, asked bool) {
	for _, name := range names {
		for about, r := range m.named {
			if strings.HasSuffix(about, " "+name) {
				asked = asked || r.state != undecided || r.denials > 0
				allows = allows || r.denials == 0 && r.state != denied && r.allowed > 0
			}
		}
	}
	return allows, asked
}

// requester is a subject that requests a Secret, and the role that it requests.
type requester struct {
	subject      string
	role         role.ARN
	isAWSIAMRole bool // of an AWSIAMRole
	since        time.Duration
}

// requestersOf returns the requesters of a Secret in the instance's cache whose denial can delete
// it, beginning with the AWSIAMRole.
func (inst *instance) requestersOf(name key, current session) (all []requester) {
	if arn, _, valid := inst.ofAWSIAMRole(name); valid && current.role == arn.String() {
		all = append(all, requester{group(name.Namespace), arn, true, inst.sim.roleChangedAt[name]})
	}
	arn, valid := inst.sim.ofPods(name, inst.cache.accounts)
	for _, p := range inst.cache.podsRequesting(name) {
		if valid {
			all = append(all, requester{user(name.Namespace, p.serviceAccount), arn, false, max(p.created, inst.sim.accountChangedAt[name])})
		}
	}
	return all
}

// isHolder reports whether the requester is the AWSIAMRole whose credentials a Secret holds.
func (a requester) isHolder(s *corev1.Secret, current session) bool {
	return a.isAWSIAMRole && secret.BelongsToAWSIAMRole(s) && current.role == a.role.String()
}
