package simulation

import "time"

// looks is what reviews said about who may have the role of one Secret: in one reconcile, or as an instance remembers it.
type looks struct {
	// bySubject is what the last reviews said, by subject; named is the same by subject and name of the role.
	bySubject map[string]look
	named     map[string]look

	// refusals is how often in a row, as far as reviews were decided, every subject was refused; first and last are when.
	refusals    int
	first, last time.Duration
	// state is what the last look said.
	state look
	// explained is true if a change was seen before the first refusal.
	explained bool
	// decided is when a look last allowed.
	decided time.Duration
}

// see takes in a review of this reconcile. A subject is allowed a role if it is by any of its names.
func (t *task) see(subject, name string, l look) {
	was, known := t.bySubject[subject]
	switch {
	case !known, l == allowed, was == refused:
		t.bySubject[subject] = l
	case was == undecided && l == refused:
	}
	m := t.inst.remembered(t.key)
	if l != undecided {
		m.named[subject+" "+name] = l
	}
}

// remembered is what an instance was told about a Secret.
func (inst *instance) remembered(name key) *looks {
	m := inst.memory[name]
	if m == nil {
		m = &looks{named: map[string]look{}, decided: inst.began}
		inst.memory[name] = m
	}
	return m
}

// fold takes what the reviews of a reconcile said, once it is all there, into what the instance remembers.
func (t *task) fold() {
	if len(t.bySubject) == 0 {
		return
	}
	m, w := t.inst.remembered(t.key), t.inst.w
	m.state = refused
	for _, l := range t.bySubject {
		if l == allowed {
			m.state = allowed
			break
		}
		if l == undecided {
			m.state = undecided
		}
	}
	clear(t.bySubject)
	if held, usable := w.credentialsIn(w.api.secrets[t.key]); m.state == undecided && usable > 0 && held.role != "" {
		w.exercised(undecidedTakesNothing)
	}
	switch m.state {
	case allowed:
		m.refusals, m.decided = 0, w.now
	case refused:
		if m.refusals == 0 {
			m.first = t.began
			m.explained = t.inst.sawChange(t.key.Namespace, m.decided-settle)
		}
		m.refusals++
		m.last = w.now
	case undecided:
	}
}

// sawChange reports whether an instance saw a change of who may have which role in a namespace since then.
func (inst *instance) sawChange(namespace string, since time.Duration) bool {
	for _, scope := range []string{namespace, ""} {
		if at, ok := inst.policyChanged[scope]; ok && at >= since {
			return true
		}
	}
	return false
}

// wasAllowed reports whether a review allowed any subject a role, by one of its names, and was not followed by one that refused it; and whether there was
// any review.
func (m *looks) wasAllowed(names []string) (allows, asked bool) {
	for _, name := range names {
		for about, l := range m.named {
			if len(about) > len(name) && about[len(about)-len(name)-1:] == " "+name {
				asked = true
				allows = allows || l == allowed
			}
		}
	}
	return allows, asked
}
