package authorization

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// Removals limits how many Secrets are deleted because their role is refused, in the whole
// cluster: an authorizer, or a tool that writes RoleBindings, cannot empty a cluster by one
// mistake. Namespaces take turns. Removals is safe for concurrent use.
type Removals struct {
	// managed returns how many Secrets the controller has.
	managed func() int

	lock  sync.Mutex
	limit *rate.Limiter
	// limited is when the limit was last computed from the number of Secrets.
	limited time.Time
	// latest is the latest time that was passed in.
	latest time.Time
	// waiting are the Secrets that are to be deleted, in the order in which they came, by
	// namespace; turns are these namespaces in the order in which they come next.
	waiting map[string][]string
	turns   []string
	// logged is when Wait last returned how many wait.
	logged time.Time
}

const (
	// removalsBurst is how many can be deleted at once, and the least number in a minute.
	removalsBurst = 10
	// removalsShare is the part of all Secrets that can be deleted in a minute: one in a hundred.
	removalsShare = 100
	// limitedFor is how long a computed limit is used: Secrets are not counted for each deletion.
	limitedFor = 10 * time.Second
	// removalsLogged is how often the log says how many wait, the first time when they have come
	// together.
	removalsLogged      = time.Minute
	firstRemovalsLogged = 5 * time.Second
)

// NewRemovals returns Removals with a limit that depends on how many Secrets managed returns.
func NewRemovals(managed func() int) *Removals {
	return &Removals{managed: managed, limit: rate.NewLimiter(0, removalsBurst), waiting: map[string][]string{}}
}

// Turn returns when a Secret can be deleted, by an estimate; it is not after now if that is at
// once.
func (r *Removals) Turn(s types.NamespacedName, now time.Time) time.Time {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.turnOf(s, now)
}

// turnOf is Turn with the lock held.
func (r *Removals) turnOf(s types.NamespacedName, now time.Time) time.Time {
	latest := r.forward(now)
	if latest.Sub(r.limited) >= limitedFor {
		perMinute := max(removalsBurst, r.managed()/removalsShare)
		r.limit.SetLimitAt(latest, rate.Every(time.Minute/time.Duration(perMinute)))
		r.limited = latest
	}
	missing := float64(r.before(s)+1) - r.limit.TokensAt(latest)
	if missing <= 0 {
		return now
	}
	return latest.Add(time.Duration(missing / float64(r.limit.Limit()) * float64(time.Second)))
}

// forward returns now, or the latest time before it if now is earlier. Workers take the time, ask
// for reviews and then come here in any order, and a rate.Limiter whose time goes back gives the
// same tokens twice. The lock is held.
func (r *Removals) forward(now time.Time) time.Time {
	if now.After(r.latest) {
		r.latest = now
	}
	return r.latest
}

// before returns how many of those that wait come before a Secret. The lock is held.
func (r *Removals) before(s types.NamespacedName) (n int) {
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

// Wait adds a Secret to those that wait for their deletion. It returns how many wait if it is time
// to log that, otherwise 0.
func (r *Removals) Wait(s types.NamespacedName, now time.Time) (logged int) {
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

// Take reports whether a Secret can be deleted now, and counts it if so.
func (r *Removals) Take(s types.NamespacedName, now time.Time) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.turnOf(s, now).After(now) || !r.limit.AllowN(r.forward(now), 1) {
		return false
	}
	r.drop(s)
	if i := slices.Index(r.turns, s.Namespace); i >= 0 { // the next turn is another's
		r.turns = append(slices.Delete(r.turns, i, i+1), s.Namespace)
	}
	return true
}

// Leave removes a Secret from those that wait.
func (r *Removals) Leave(s types.NamespacedName) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.drop(s)
}

// drop is Leave with the lock held.
func (r *Removals) drop(s types.NamespacedName) {
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

// Delayed returns how many Secrets wait for their deletion.
func (r *Removals) Delayed() int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.count()
}

func (r *Removals) count() (n int) {
	for _, names := range r.waiting {
		n += len(names)
	}
	return n
}
