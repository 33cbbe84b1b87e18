package authorization

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Changes has when something changed last that decisions depend on, for each namespace and for the
// cluster as a whole. All times are those of the local monotonic clock: by a clock that can be
// corrected, a decision could seem later than a change that came after it, and a withdrawn right
// would stay. Changes is safe for concurrent use.
type Changes struct {
	lock sync.Mutex
	// last has the last change of each namespace, and that of the whole cluster under "".
	last map[string]time.Time
	// settled is the last change that is no longer in the map: what was decided before it is void.
	settled time.Time
	// began is when the first review was asked for: what changed shortly before raises no event.
	began time.Time
	// sweeps limits, for each namespace and under "" for the cluster, how often changes have all
	// its Secrets reconciled.
	sweeps map[string]*rate.Limiter
}

// NewChanges returns Changes without any.
func NewChanges() *Changes {
	return &Changes{last: map[string]time.Time{}, sweeps: map[string]*rate.Limiter{}}
}

const (
	// PropagationDelay is how long after a change an API server, of which there can be several,
	// can still answer as before. What it answers meanwhile is asked again after that.
	PropagationDelay = 10 * time.Second
	// SweepDelay is the time over which all Secrets are reconciled after a change of the whole
	// cluster: each is so much later than the change at most.
	SweepDelay = 15 * time.Second
	// sweepBurst is how many changes in one namespace have all its Secrets reconciled one after
	// the other.
	sweepBurst = 3
	// recheckSpread is the time over which Secrets are reconciled again when a change of the whole
	// cluster has settled.
	recheckSpread = 4 * time.Second
	// maxChanges is the number of namespaces above which settled changes are dropped.
	maxChanges = 1000
)

// Begin notes that a review is asked for at a time.
func (c *Changes) Begin(now time.Time) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.began.IsZero() {
		c.began = now
	}
}

// Observe notes that something changed in a namespace, or with "" in the whole cluster. It reports
// whether all Secrets there are to be reconciled. Not each of many changes has them so: a Secret
// is reconciled again when the change before has settled.
func (c *Changes) Observe(namespace string, now time.Time) (sweep bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if len(c.last) >= maxChanges {
		c.dropSettled(now)
	}
	c.last[namespace] = now
	if c.sweeps[namespace] == nil {
		c.sweeps[namespace] = rate.NewLimiter(rate.Every(PropagationDelay), sweepBurst)
	}
	return c.sweeps[namespace].AllowN(now, 1)
}

// dropSettled drops changes that have settled and that no Secret waits for. The lock is held.
func (c *Changes) dropSettled(now time.Time) {
	maps.DeleteFunc(c.last, func(_ string, at time.Time) bool {
		isSettled := !now.Before(at.Add(PropagationDelay + SweepDelay))
		if isSettled && at.After(c.settled) {
			c.settled = at
		}
		return isSettled
	})
	maps.DeleteFunc(c.sweeps, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= sweepBurst })
}

// Since returns when something changed last that decisions in a namespace depend on; zero if that
// was not after a time. A zero time stands for all that this replica has observed.
func (c *Changes) Since(namespace string, since time.Time) time.Time {
	c.lock.Lock()
	defer c.lock.Unlock()
	if last := c.lastOf(namespace); last.After(since) {
		return last
	}
	return time.Time{}
}

// holds reports whether a decision of a time is still good: nothing has changed since, or it was
// made after the change and the change has not settled yet.
func (c *Changes) holds(namespace string, decided, now time.Time) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	last := c.lastOf(namespace)
	if c.settled.After(last) {
		last = c.settled
	}
	settled := last.Add(PropagationDelay)
	return !decided.Before(last) && (now.Before(settled) || !decided.Before(settled))
}

// Recheck returns when to ask again because of a change that has not settled yet, or zero. A
// refusal is also asked about again soon after the first review. spread, from 0 to 1 and always
// the same for one Secret, spreads these reviews after a change of the whole cluster.
func (c *Changes) Recheck(namespace string, spread float64, allowed bool, now time.Time) time.Time {
	c.lock.Lock()
	defer c.lock.Unlock()
	last := c.lastOf(namespace)
	if !allowed && c.began.After(last) {
		last = c.began
	}
	at := last.Add(PropagationDelay)
	if !now.Before(at) {
		return time.Time{}
	}
	if last.Equal(c.last[""]) || last.Equal(c.began) {
		at = at.Add(time.Duration(spread * float64(recheckSpread)))
	}
	return at
}

// lastOf returns the later change of the namespace and of the cluster. The lock is held.
func (c *Changes) lastOf(namespace string) time.Time {
	if c.last[""].After(c.last[namespace]) {
		return c.last[""]
	}
	return c.last[namespace]
}

// Len returns how many namespaces have a change that is remembered.
func (c *Changes) Len() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	return len(c.last)
}
