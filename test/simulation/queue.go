package simulation

import (
	"cmp"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// queue is controller-runtime's priority queue without its goroutines: one entry for each key,
// with the highest of the priorities and the earliest of the times that it was added with. A
// key that is being processed is not returned again before Done.
type queue struct {
	sim     *simulator
	items   map[key]*item
	busy    map[key]bool
	limiter workqueue.TypedRateLimiter[reconcile.Request]
	closed  bool
}

type item struct {
	key      key
	ready    time.Duration
	priority int
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = &queue{}

func newQueue(sim *simulator, limiter workqueue.TypedRateLimiter[reconcile.Request]) *queue {
	return &queue{sim: sim, items: map[key]*item{}, busy: map[key]bool{}, limiter: limiter}
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q *queue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	if q.closed {
		return
	}
	for _, r := range requests {
		after := o.After
		if o.RateLimited {
			if pause := q.limiter.When(r); after == 0 || pause < after {
				after = pause
			}
		}
		var priority int
		if o.Priority != nil {
			priority = *o.Priority
		}
		next := &item{key: r.NamespacedName, ready: q.sim.now + max(0, after), priority: priority}
		if known, ok := q.items[next.key]; ok {
			next.ready, next.priority = min(next.ready, known.ready), max(next.priority, known.priority)
		}
		q.items[next.key] = next
	}
}

// next returns the next entry: of the ready ones that with the highest priority, otherwise the
// first to become ready. Ties are broken by name, so that the order is deterministic.
func (q *queue) next() *item {
	var best *item
	for _, i := range q.items {
		if !q.busy[i.key] && (best == nil || q.before(i, best)) {
			best = i
		}
	}
	return best
}

func (q *queue) before(a, b *item) bool {
	readyA, readyB := a.ready <= q.sim.now, b.ready <= q.sim.now
	switch {
	case readyA != readyB:
		return readyA
	case readyA && a.priority != b.priority:
		return a.priority > b.priority
	default:
		return cmp.Or(cmp.Compare(a.ready, b.ready), cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name)) < 0
	}
}

// take removes an entry to process it.
func (q *queue) take(i *item) {
	delete(q.items, i.key)
	q.busy[i.key] = true
}

// Add implements workqueue.TypedInterface.
func (q *queue) Add(r reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, r) }

// AddAfter implements workqueue.TypedDelayingInterface.
func (q *queue) AddAfter(r reconcile.Request, d time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: d}, r)
}

// AddRateLimited implements workqueue.TypedRateLimitingInterface.
func (q *queue) AddRateLimited(r reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, r)
}

// Forget implements workqueue.TypedRateLimitingInterface.
func (q *queue) Forget(r reconcile.Request) { q.limiter.Forget(r) }

// NumRequeues implements workqueue.TypedRateLimitingInterface.
func (q *queue) NumRequeues(r reconcile.Request) int { return q.limiter.NumRequeues(r) }

// Len implements workqueue.TypedInterface.
func (q *queue) Len() int { return len(q.items) }

// Done implements workqueue.TypedInterface.
func (q *queue) Done(r reconcile.Request) { delete(q.busy, r.NamespacedName) }

// Get is not implemented: the simulator calls next and take.
func (q *queue) Get() (reconcile.Request, bool) { panic("not implemented") }

// GetWithPriority is not implemented.
func (q *queue) GetWithPriority() (reconcile.Request, int, bool) {
	panic("not implemented")
}

// ShutDown implements workqueue.TypedInterface.
func (q *queue) ShutDown() { q.closed = true }

// ShutDownWithDrain implements workqueue.TypedInterface.
func (q *queue) ShutDownWithDrain() { q.closed = true }

// ShuttingDown implements workqueue.TypedInterface.
func (q *queue) ShuttingDown() bool { return q.closed }
