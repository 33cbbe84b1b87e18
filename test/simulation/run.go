package simulation

import (
	"math/rand/v2"
	"time"
)

// config is the random configuration of a simulation.
type config struct {
	namespaces, serviceAccounts, roles []string
	session, refreshLimit, grace       time.Duration
	// duration is how long tenants and faults go on; then everything heals.
	duration time.Duration
	// meanPause is the mean time between two actions.
	meanPause time.Duration
	// initialPods is the number of pods at the beginning.
	initialPods int
	// isUser is true if the controller is an IAM user, and not a role. baseKnown is true if a
	// base role ARN was given.
	isUser, baseKnown, alwaysAllow, dryRun bool
}

// newConfig returns a random configuration.
func newConfig(r *rand.Rand) config {
	c := config{
		namespaces:      []string{"team-a", "team-b", "team-c"}[:2+r.IntN(2)],
		serviceAccounts: []string{"default", "app", "batch"},
		roles:           []string{"orders", "payments", "search", "mail", "reports", "images", "audit"},
		session:         time.Hour, refreshLimit: 30 * time.Minute, grace: 5 * time.Minute,
		duration: time.Duration(90+r.IntN(300)) * time.Minute, meanPause: time.Duration(30+r.IntN(120)) * time.Second,
		initialPods: 4 + r.IntN(8), isUser: r.IntN(4) == 0, baseKnown: r.IntN(2) == 0,
	}
	switch r.IntN(10) {
	case 0, 1:
		c.session = 15 * time.Minute
	case 2:
		c.session = 2 * time.Hour
	}
	switch r.IntN(20) {
	case 0, 1:
		c.alwaysAllow = true
	case 2:
		c.dryRun = true
	case 3, 4, 5: // so many that deletions are limited
		c.initialPods = 40
		for _, stem := range c.roles {
			for _, end := range []string{"a", "b", "c", "d"} {
				c.roles = append(c.roles, stem+"-"+end)
			}
		}
		c.duration /= 3
	}
	return c
}

// Options are the settings of a run.
type Options struct {
	// Only is the only invariant whose violation ends a run; if it is empty, any does.
	Only Invariant
	// Trace keeps the lines of the trace.
	Trace bool
}

// Run simulates one seed to its end, or until an invariant is violated.
func Run(seed uint64, o Options) *Report {
	sim := &simulator{
		seed: seed, chance: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it must replay
		rolls:    map[string]uint64{},
		editedAt: map[key]time.Duration{}, roleChangedAt: map[key]time.Duration{}, accountChangedAt: map[key]time.Duration{}, namespaceDeletedAt: map[string]time.Duration{},
		Report: &Report{Seed: seed, Reached: map[string]int{}, only: o.Only},
	}
	sim.cfg = newConfig(sim.chance)
	sim.trace = newTrace(sim, o.Trace)
	sim.api, sim.rbac, sim.sts, sim.pods, sim.faults = newAPI(sim), newRBAC(sim), newSTS(sim), newPods(sim), newFaults(sim)
	sim.accounts, sim.eventLog = newAccounts(sim), newEventLog()
	sim.createInitialAccounts()
	sim.createInitialPods()
	sim.start(clusterName)
	sim.scheduleMemoryChecks()
	sim.scheduleActions()
	sim.run(sim.cfg.duration)
	if !sim.Failed() {
		sim.heal()
		sim.run(sim.now + sim.cfg.session + sim.cfg.grace + 15*time.Minute)
	}
	if !sim.Failed() {
		sim.checkEnd()
	}
	sim.Hash, sim.Simulated = sim.trace.sum.Sum64(), sim.now
	for len(sim.instances) > 0 {
		sim.instances[0].kill()
	}
	sim.Trace = sim.trace.tail
	return sim.Report
}

// clusterName is the controller's --cluster-name.
const clusterName = "prod"

// createInitialPods creates pods and grants before the controller starts.
func (sim *simulator) createInitialPods() {
	for range sim.cfg.initialPods {
		ns, sa, role := pick(sim, sim.cfg.namespaces), pick(sim, sim.cfg.serviceAccounts), pick(sim, sim.cfg.roles)
		if sim.chance.IntN(10) > 0 {
			sim.rbac.addGrant(ns, user(ns, sa), role)
		}
		if sim.chance.IntN(4) == 0 {
			sim.pods.create(ns, sa, accountSecret(sa))
			continue
		}
		sim.pods.create(ns, sa, secretPrefix+role)
	}
	if sim.chance.IntN(3) == 0 {
		sim.sts.distrusts[pick(sim, sim.cfg.roles)] = true
	}
}

// scheduleActions runs random actions and faults, at intervals that come in bursts.
func (sim *simulator) scheduleActions() {
	pause := time.Duration(sim.chance.ExpFloat64() * float64(sim.cfg.meanPause))
	if sim.chance.IntN(4) == 0 {
		pause = time.Duration(sim.chance.Int64N(int64(3 * time.Second)))
	}
	sim.after(pause, func() {
		if sim.now < sim.cfg.duration && !sim.healed {
			sim.runAction()
			sim.scheduleActions()
		}
	})
}

// heal ends all faults and leaves one controller running.
func (sim *simulator) heal() {
	sim.trace.add("everything heals")
	sim.healed = true
	sim.faults.heal()
	clear(sim.api.terminating)
	for len(sim.instances) > 1 {
		sim.instances[len(sim.instances)-1].kill()
	}
	if len(sim.instances) == 0 || sim.instances[0].cluster != clusterName {
		for _, inst := range sim.instances {
			inst.kill()
		}
		sim.start(clusterName)
	}
	sim.faults.heal()
	inst := sim.instances[0]
	inst.host.ahead = 0
	for _, watch := range watches {
		if inst.cache.lost[watch] {
			inst.cache.relist(watch)
		}
	}
}

func pick[T any](sim *simulator, all []T) T { return all[sim.chance.IntN(len(all))] }
