package controllers

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// removals limits how many Secrets are deleted because their role is refused, in the whole
// cluster: an authorizer, or a tool that writes RoleBindings, cannot empty a cluster by one
// mistake. Namespaces take turns.
type removals struct {
	// managed returns how many Secrets the controller has.
	managed func() int

	lock  sync.Mutex
	limit *rate.Limiter
	// limited is when the limit was last computed from the number of Secrets.
	limited time.Time
	// waiting are the Secrets that are to be deleted, in the order in which they came, by
	// namespace; turns are these namespaces in the order in which they come next.
	waiting map[string][]string
	turns   []string
	// logged is when the log last said how many wait.
	logged time.Time
}

const (
	// removalsBurst is how many may be deleted at once, and also how many a minute at the least.
	removalsBurst = 10
	// removalsShare is which part of all Secrets may be deleted in a minute: one in a hundred.
	removalsShare = 100
	// limitedFor is how long the limit stays as it was computed: Secrets are not counted for each.
	limitedFor = 10 * time.Second
	// removalsLogged is how often the log says how many wait, the first time when they have come
	// together.
	removalsLogged      = time.Minute
	firstRemovalsLogged = 5 * time.Second
)

func newRemovals(managed func() int) *removals {
	return &removals{managed: managed, limit: rate.NewLimiter(0, removalsBurst), waiting: map[string][]string{}}
}

// turn returns when a Secret may be deleted, as far as can be said now; it is not after now if
// that is at once.
func (r *removals) turn(s types.NamespacedName, now time.Time) time.Time {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.turnOf(s, now)
}

// turnOf is turn with the lock held.
func (r *removals) turnOf(s types.NamespacedName, now time.Time) time.Time {
	if now.Sub(r.limited) >= limitedFor {
		perMinute := max(removalsBurst, r.managed()/removalsShare)
		r.limit.SetLimitAt(now, rate.Every(time.Minute/time.Duration(perMinute)))
		r.limited = now
	}
	missing := float64(r.before(s)+1) - r.limit.TokensAt(now)
	if missing <= 0 {
		return now
	}
	return now.Add(time.Duration(missing / float64(r.limit.Limit()) * float64(time.Second)))
}

// before returns how many of those that wait come before a Secret. The lock is held.
func (r *removals) before(s types.NamespacedName) (n int) {
	round := slices.Index(r.waiting[s.Namespace], s.Name)
	if round < 0 {
		round = len(r.waiting[s.Namespace])
	}
	own := slices.Index(r.turns, s.Namespace)
	for i, namespace := range r.turns {
		rounds := round
		if own < 0 || i < own {
			rounds++
		}
		n += min(len(r.waiting[namespace]), rounds)
	}
	return n
}

// wait notes that a Secret is to be deleted when its turn comes. It returns how many wait, if it
// is time to log that.
func (r *removals) wait(s types.NamespacedName, now time.Time) (logged int) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.turns) == 0 {
		r.logged = now.Add(firstRemovalsLogged - removalsLogged)
	}
	if len(r.waiting[s.Namespace]) == 0 {
		r.turns = append(r.turns, s.Namespace)
	}
	if !slices.Contains(r.waiting[s.Namespace], s.Name) {
		r.waiting[s.Namespace] = append(r.waiting[s.Namespace], s.Name)
	}
	if now.Sub(r.logged) < removalsLogged {
		return 0
	}
	r.logged = now
	return r.count()
}

// take reports whether a Secret may be deleted now, and counts it if so.
func (r *removals) take(s types.NamespacedName, now time.Time) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.turnOf(s, now).After(now) || !r.limit.AllowN(now, 1) {
		return false
	}
	r.drop(s)
	if i := slices.Index(r.turns, s.Namespace); i >= 0 { // the next turn is another's
		r.turns = append(slices.Delete(r.turns, i, i+1), s.Namespace)
	}
	return true
}

// leave notes that a Secret is not to be deleted.
func (r *removals) leave(s types.NamespacedName) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.drop(s)
}

// drop takes a Secret out of those that wait. The lock is held.
func (r *removals) drop(s types.NamespacedName) {
	i := slices.Index(r.waiting[s.Namespace], s.Name)
	if i < 0 {
		return
	}
	r.waiting[s.Namespace] = slices.Delete(r.waiting[s.Namespace], i, i+1)
	if len(r.waiting[s.Namespace]) == 0 {
		delete(r.waiting, s.Namespace)
		r.turns = slices.DeleteFunc(r.turns, func(namespace string) bool { return namespace == s.Namespace })
	}
}

// delayed returns how many Secrets wait to be deleted.
func (r *removals) delayed() int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.count()
}

func (r *removals) count() (n int) {
	for _, names := range r.waiting {
		n += len(names)
	}
	return n
}
