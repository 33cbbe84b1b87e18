package simulation

import "time"

// accidents are the faults that can begin, with how long they last at least and at most. What
// lasts half a session or longer would be no test.
var accidents = []struct {
	kind        string
	least, most time.Duration
}{
	{faultAPIErrors, time.Second, 2 * time.Minute},
	{faultAPIDown, time.Second, 3 * time.Minute},
	{faultAPISlow, time.Second, 3 * time.Minute},
	{faultLostAnswers, time.Second, 2 * time.Minute},
	{faultWatchLag, time.Second, 3 * time.Minute},
	{faultReviewsUndecided, time.Second, 10 * time.Minute},
	{faultReviewsWrong, time.Second, 4 * time.Minute},
	{faultSTSDown, time.Second, 0}, // half a session
	{faultSTSErrors, time.Second, 10 * time.Minute},
	{faultSTSSlow, time.Second, 5 * time.Minute},
	{faultIdentityLost, time.Second, 5 * time.Minute},
	{faultWatchLost, time.Second, 2 * time.Minute},
	{faultClock, time.Minute, 2 * time.Minute},
	{faultTwoInstances, 5 * time.Second, 3 * time.Minute},
}

// fail lets a fault begin.
func fail(w *World) {
	a := pick(w, accidents)
	if a.kind == faultSTSDown {
		a.most = w.cfg.session/2 - 4*time.Minute
	}
	if a.kind == faultReviewsWrong && w.chance.IntN(4) == 0 {
		a.most = 15 * time.Minute // longer than what nothing explains is doubted
	}
	d := a.least + time.Duration(w.chance.Float64()*w.chance.Float64()*float64(a.most-a.least))
	if w.cfg.alwaysAllow && (a.kind == faultReviewsUndecided || a.kind == faultReviewsWrong) {
		return
	}
	w.faults.begin(a.kind, d)
	w.strike(a.kind, d)
}

// strike does what a fault does at its beginning.
func (w *World) strike(kind string, d time.Duration) {
	switch kind {
	case faultAPIDown:
		for _, inst := range w.instances {
			for _, watch := range []string{watchSecrets, watchRoles, watchPods, watchPolicies} {
				inst.cache.lose(watch, d)
			}
		}
	case faultWatchLost:
		watch := pick(w, []string{watchSecrets, watchRoles, watchPods, watchPolicies})
		for _, inst := range w.instances {
			inst.cache.lose(watch, d)
		}
	case faultClock:
		w.setClock()
	case faultTwoInstances:
		w.second(d)
	}
}

// setClock lets somebody set the clock of a machine.
func (w *World) setClock() {
	if len(w.instances) == 0 {
		return
	}
	m := pick(w, w.instances).machine
	m.ahead = time.Duration((w.chance.Float64()*2 - 1) * float64(pick(w, []time.Duration{4 * time.Second, time.Minute, 3 * time.Hour})))
	if w.chance.IntN(3) == 0 {
		m.ahead = 0
	}
	w.trace.add("a clock is set %s ahead", m.ahead)
}

// second lets another instance work beside the first, as by a mistake, or because it took over
// too early.
func (w *World) second(d time.Duration) {
	if len(w.instances) != 1 {
		return
	}
	cluster := clusterName
	if w.chance.IntN(2) == 0 {
		cluster = "other"
	}
	first, second := w.instances[0], w.start(cluster)
	goes := second
	if cluster == clusterName {
		goes = first
	}
	w.after(d, func() {
		if goes.alive && !w.healed {
			goes.kill()
		}
	})
}

// restart ends all controllers, and starts one some time later.
func restart(w *World) {
	d := time.Duration(w.chance.Float64() * w.chance.Float64() * float64(w.cfg.session/4))
	if w.chance.IntN(2) == 0 {
		d = time.Second
	}
	w.faults.begin(faultDown, d)
	for len(w.instances) > 0 {
		w.instances[0].kill()
	}
	w.after(d, func() {
		if len(w.instances) == 0 {
			w.start(clusterName)
		}
	})
}

// deleteNamespace deletes all there is in a namespace. It comes back later.
func deleteNamespace(w *World) {
	ns := pick(w, w.cfg.namespaces)
	w.trace.add("namespace %s is deleted", ns)
	w.api.leaving[ns], w.nsDeleted[ns] = true, w.now
	for _, name := range sorted(w.pods.all) {
		if name.Namespace == ns {
			w.pods.remove(w.pods.all[name], w.between("namespace", 0, 30*time.Second))
		}
	}
	w.after(5*time.Second, func() {
		for _, name := range sorted(w.api.secrets) {
			if name.Namespace == ns {
				w.api.remove(w.api.secrets[name])
			}
		}
		for _, name := range sorted(w.api.roles) {
			if name.Namespace == ns {
				w.api.remove(w.api.roles[name])
			}
		}
		for _, b := range sorted(w.rbac.grants) {
			if b.Namespace == ns {
				w.rbac.take(b)
			}
		}
	})
	w.after(time.Minute, func() { w.api.leaving[ns] = false; w.nsDeleted[ns] = w.now })
}

// maxGarbageLag is how long Kubernetes' garbage collector may take.
const maxGarbageLag = 10 * time.Second
