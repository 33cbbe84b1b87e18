package simulation

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// looks is what reviews said of who may have the role of one Secret, as an instance remembers it.
type looks struct {
	// named is by subject and name of the role, with a space in between.
	named map[string]*run
	// refusedSince is when the first review refused it that none followed which allowed it.
	refusedSince time.Duration
}

// run is what the last reviews of one subject and one name of a role said.
type run struct {
	// state is what the last one said.
	state look
	// refusals is how often in a row, as far as reviews were decided, they refused; first and
	// last are when.
	refusals    int
	first, last time.Duration
	// allowed is when a review last allowed it, or else when the instance began.
	allowed time.Duration
}

// see takes in a review of this reconcile.
func (t *task) see(subject, name string, l look) {
	inst, w := t.inst, t.inst.w
	m := inst.remembered(t.key)
	about := subject + " " + name
	r := m.named[about]
	if r == nil {
		r = &run{allowed: inst.began}
		m.named[about] = r
	}
	r.state = l
	switch l {
	case allowed:
		r.refusals, r.allowed, m.refusedSince = 0, w.now, 0
	case refused:
		if m.refusedSince == 0 {
			m.refusedSince = t.began
		}
		if r.refusals == 0 {
			r.first = t.began
		}
		r.refusals++
		r.last = w.now
	case undecided:
		if held, usable := w.credentialsIn(w.api.secrets[t.key]); usable > 0 && held.role != "" {
			w.exercised(undecidedTakesNothing)
		}
	}
}

// remembered is what an instance was told about a Secret.
func (inst *instance) remembered(name key) *looks {
	m := inst.memory[name]
	if m == nil {
		m = &looks{named: map[string]*run{}}
		inst.memory[name] = m
	}
	return m
}

// of is what is known of a subject and a role: a role is refused if it is by all its names.
func (m *looks) of(subject string, names []string) run {
	var all run
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
			all.refusals, all.allowed = min(all.refusals, one.refusals), max(all.allowed, one.allowed)
		}
	}
	return all
}

// since is what counts of a run for one who asks: the time does not begin again for those who
// come while all are refused, who ask first then, or who never had the role that the Secret
// holds.
func (r run) since(inst *instance, m *looks, a asker, held session) run {
	if r.refusals > 0 && m.refusedSince > 0 && (a.since > m.refusedSince || r.allowed == inst.began || a.role.String() != held.role) {
		r.first = min(r.first, m.refusedSince)
	}
	return r
}

// sawChange reports whether an instance saw a change of who may have which role in a namespace
// since then.
func (inst *instance) sawChange(namespace string, since time.Duration) bool {
	for _, scope := range []string{namespace, ""} {
		if at, ok := inst.policyChanged[scope]; ok && at >= since {
			return true
		}
	}
	return false
}

// wasAllowed reports whether a review allowed any subject a role, by one of its names, and was
// not followed by one that refused it; and whether there was any review that was decided.
func (m *looks) wasAllowed(names []string) (allows, asked bool) {
	for _, name := range names {
		for about, r := range m.named {
			if strings.HasSuffix(about, " "+name) {
				asked = asked || r.state != undecided || r.refusals > 0
				allows = allows || r.refusals == 0 && r.state != refused && r.allowed > 0
			}
		}
	}
	return allows, asked
}

// asker is a subject in whose name a Secret is asked for, and the role that it asks for.
type asker struct {
	subject string
	role    role.ARN
	ofRole  bool // of an AWSIAMRole
	since   time.Duration
}

// askedBy are those who ask for a Secret and may lose by it what it holds, as far as an instance
// knows: first the AWSIAMRole.
func (inst *instance) askedBy(name key, held session) (all []asker) {
	if arn, _, valid := inst.ofAWSIAMRole(name); valid && held.role == arn.String() {
		all = append(all, asker{group(name.Namespace), arn, true, inst.w.roleTouched[name]})
	}
	arn, valid := inst.w.ofPod(name)
	for _, p := range inst.cache.askers(name) {
		if valid {
			all = append(all, asker{user(name.Namespace, p.serviceAccount), arn, false, p.created})
		}
	}
	return all
}

// brought reports whether what a Secret holds is there for an AWSIAMRole.
func (a asker) brought(s *corev1.Secret, held session) bool {
	return a.ofRole && secret.OfAWSIAMRole(s) && held.role == a.role.String()
}
