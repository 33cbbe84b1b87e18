package simulation

import "time"

// faultKinds are the kinds of random faults, with their shortest and longest duration. All are
// shorter than half a session, which the controller must survive.
var faultKinds = []struct {
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

// injectFault begins a random fault.
func injectFault(sim *simulator) {
	a := pick(sim, faultKinds)
	if a.kind == faultSTSDown {
		a.most = sim.cfg.session/2 - 4*time.Minute
	}
	if a.kind == faultReviewsWrong && sim.chance.IntN(4) == 0 {
		a.most = 15 * time.Minute // longer than unexplained denials are held back
	}
	d := a.least + time.Duration(sim.chance.Float64()*sim.chance.Float64()*float64(a.most-a.least))
	if sim.cfg.alwaysAllow && (a.kind == faultReviewsUndecided || a.kind == faultReviewsWrong) {
		return
	}
	sim.faults.begin(a.kind, d)
	sim.applyFault(a.kind, d)
}

// applyFault applies the immediate effects of a fault.
func (sim *simulator) applyFault(kind string, d time.Duration) {
	switch kind {
	case faultAPIDown:
		for _, inst := range sim.instances {
			for _, watch := range watches {
				inst.cache.lose(watch, d)
			}
		}
	case faultWatchLost:
		watch := pick(sim, watches)
		for _, inst := range sim.instances {
			inst.cache.lose(watch, d)
		}
	case faultClock:
		sim.setClock()
	case faultTwoInstances:
		sim.startSecondInstance(d)
	}
}

// setClock sets the clock of a host to a random error.
func (sim *simulator) setClock() {
	if len(sim.instances) == 0 {
		return
	}
	m := pick(sim, sim.instances).host
	m.ahead = time.Duration((sim.chance.Float64()*2 - 1) * float64(pick(sim, []time.Duration{4 * time.Second, time.Minute, 3 * time.Hour})))
	if sim.chance.IntN(3) == 0 {
		m.ahead = 0
	}
	sim.trace.add("a clock is set %s ahead", m.ahead)
}

// startSecondInstance runs another instance beside the first, as after a wrong configuration or an
// early change of the leader.
func (sim *simulator) startSecondInstance(d time.Duration) {
	if len(sim.instances) != 1 {
		return
	}
	cluster := clusterName
	if sim.chance.IntN(2) == 0 {
		cluster = "other"
	}
	first, second := sim.instances[0], sim.start(cluster)
	loser := second
	if cluster == clusterName {
		loser = first
	}
	sim.after(d, func() {
		if loser.alive && !sim.healed {
			loser.kill()
		}
	})
}

// restart stops all controllers, and starts one some time later.
func restart(sim *simulator) {
	d := time.Duration(sim.chance.Float64() * sim.chance.Float64() * float64(sim.cfg.session/4))
	if sim.chance.IntN(2) == 0 {
		d = time.Second
	}
	sim.faults.begin(faultDown, d)
	for len(sim.instances) > 0 {
		sim.instances[0].kill()
	}
	sim.after(d, func() {
		if len(sim.instances) == 0 {
			sim.start(clusterName)
		}
	})
}

// deleteNamespace deletes a namespace with all its objects, and creates it again later.
func deleteNamespace(sim *simulator) {
	ns := pick(sim, sim.cfg.namespaces)
	sim.trace.add("namespace %s is deleted", ns)
	sim.api.terminating[ns], sim.namespaceDeletedAt[ns] = true, sim.now
	for _, name := range sorted(sim.pods.all) {
		if name.Namespace == ns {
			sim.pods.remove(sim.pods.all[name], sim.between("namespace", 0, 30*time.Second))
		}
	}
	sim.after(5*time.Second, func() {
		for _, name := range sorted(sim.api.secrets) {
			if name.Namespace == ns {
				sim.api.remove(sim.api.secrets[name])
			}
		}
		for _, name := range sorted(sim.api.roles) {
			if name.Namespace == ns {
				sim.api.remove(sim.api.roles[name])
			}
		}
		for _, name := range sorted(sim.accounts.all) {
			if name.Namespace == ns {
				sim.accounts.remove(name)
			}
		}
		for _, b := range sorted(sim.rbac.grants) {
			if b.Namespace == ns {
				sim.rbac.removeGrant(b)
			}
		}
	})
	sim.after(time.Minute, func() { sim.api.terminating[ns] = false; sim.namespaceDeletedAt[ns] = sim.now })
}

// maxGarbageCollectionDelay limits the delay of Kubernetes' garbage collector.
const maxGarbageCollectionDelay = 10 * time.Second
