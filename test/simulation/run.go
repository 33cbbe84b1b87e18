package simulation

import (
	"math/rand/v2"
	"time"
)

// config is what differs between worlds from their beginning.
type config struct {
	namespaces, serviceAccounts, roles []string
	session, refreshLimit, grace       time.Duration
	// lasts is how long tenants and faults go on; then everything heals.
	lasts time.Duration
	// pause is the mean time between two actions.
	pause time.Duration
	// crowd is how many pods there are from the beginning.
	crowd int
	// isUser is true if the controller is an IAM user, and not a role. baseKnown is true if a
	// base role ARN was given.
	isUser, baseKnown, alwaysAllow, dryRun bool
}

// newConfig chooses a world.
func newConfig(r *rand.Rand) config {
	c := config{
		namespaces:      []string{"team-a", "team-b", "team-c"}[:2+r.IntN(2)],
		serviceAccounts: []string{"default", "app", "batch"},
		roles:           []string{"orders", "payments", "search", "mail", "reports", "images", "audit"},
		session:         time.Hour, refreshLimit: 30 * time.Minute, grace: 5 * time.Minute,
		lasts: time.Duration(90+r.IntN(300)) * time.Minute, pause: time.Duration(30+r.IntN(120)) * time.Second,
		crowd: 4 + r.IntN(8), isUser: r.IntN(4) == 0, baseKnown: r.IntN(2) == 0,
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
		c.crowd = 40
		for _, stem := range c.roles {
			for _, end := range []string{"a", "b", "c", "d"} {
				c.roles = append(c.roles, stem+"-"+end)
			}
		}
		c.lasts /= 3
	}
	return c
}

// Options of a run.
type Options struct {
	// Only is the one invariant that ends a run when it does not hold; if it is empty, all do.
	Only Invariant
	// Trace keeps what happens.
	Trace bool
}

// Run plays one seed to its end, or until an invariant does not hold.
func Run(seed uint64, o Options) *Report {
	w := &World{
		seed: seed, chance: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it must replay
		rolls:    map[string]uint64{},
		tampered: map[key]time.Duration{}, roleTouched: map[key]time.Duration{}, nsDeleted: map[string]time.Duration{},
		Report: &Report{Seed: seed, Reached: map[string]int{}, only: o.Only},
	}
	w.cfg = newConfig(w.chance)
	w.trace = newTrace(w, o.Trace)
	w.api, w.rbac, w.sts, w.pods, w.faults = newAPI(w), newRBAC(w), newSTS(w), newPods(w), newFaults(w)
	w.told = newTold()
	w.populate()
	w.start(clusterName)
	w.watchMemory()
	w.keepActing()
	w.run(w.cfg.lasts)
	if !w.Failed() {
		w.heal()
		w.run(w.now + w.cfg.session + w.cfg.grace + 15*time.Minute)
	}
	if !w.Failed() {
		w.judgeEnd()
	}
	w.Hash, w.Simulated = w.trace.sum.Sum64(), w.now
	for len(w.instances) > 0 {
		w.instances[0].kill()
	}
	w.Trace = w.trace.tail
	return w.Report
}

// clusterName is the controller's --cluster-name.
const clusterName = "prod"

// populate makes what is there before the controller starts.
func (w *World) populate() {
	for range w.cfg.crowd {
		ns, sa, role := pick(w, w.cfg.namespaces), pick(w, w.cfg.serviceAccounts), pick(w, w.cfg.roles)
		if w.chance.IntN(10) > 0 {
			w.rbac.give(ns, user(ns, sa), role)
		}
		w.pods.create(ns, sa, secretPrefix+role)
	}
	if w.chance.IntN(3) == 0 {
		w.sts.distrusts[pick(w, w.cfg.roles)] = true
	}
}

// keepActing lets tenants and faults go on, at intervals that come in bursts.
func (w *World) keepActing() {
	pause := time.Duration(w.chance.ExpFloat64() * float64(w.cfg.pause))
	if w.chance.IntN(4) == 0 {
		pause = time.Duration(w.chance.Int64N(int64(3 * time.Second)))
	}
	w.after(pause, func() {
		if w.now < w.cfg.lasts && !w.healed {
			w.act()
			w.keepActing()
		}
	})
}

// heal ends all faults and lets one controller work, for as long as it takes.
func (w *World) heal() {
	w.trace.add("everything heals")
	w.healed = true
	w.faults.heal()
	clear(w.api.leaving)
	for len(w.instances) > 1 {
		w.instances[len(w.instances)-1].kill()
	}
	if len(w.instances) == 0 || w.instances[0].cluster != clusterName {
		for _, inst := range w.instances {
			inst.kill()
		}
		w.start(clusterName)
	}
	w.faults.heal()
	inst := w.instances[0]
	inst.machine.ahead = 0
	for _, watch := range []string{watchSecrets, watchRoles, watchPods, watchPolicies} {
		if inst.cache.lost[watch] {
			inst.cache.relist(watch)
		}
	}
}

func pick[T any](w *World, all []T) T { return all[w.chance.IntN(len(all))] }
