// Package fairqueue has the work queue of a controller whose namespaces belong to different teams. It
// shares the workers between namespaces, so that one with much work does not delay the others.
//
// A worker that is free takes an item of the namespace that has the fewest items in process; among
// equals, namespaces take turns. This is max-min fair in workers: a namespace gets what it asks for, or
// as much as any other. No namespace can hold all workers, even if no other asks for one: of 64, one
// namespace can have 56. What takes long, such as a slow answer of AWS, then finds another namespace's
// work a free worker.
//
// Priorities order the items of one namespace: higher ones first, equal ones in the order in which they
// became ready. Between namespaces there are three classes only, so that one does not come before others
// by making its work urgent:
//
//   - Items of priority Exclusive and above go before all others, and are for the controller's own needs.
//   - Items of priority 0 and above are the foreground.
//   - Items below 0 are the background. They are processed when no foreground item can be, and after
//     seven foreground items in a row, so that no load of the foreground stops them.
package fairqueue

import (
	"container/heap"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Exclusive is the least priority of items that go before those of all namespaces. Nothing that a
// namespace's users cause may have it.
const Exclusive = 100

// Options are the settings of a Queue.
type Options struct {
	// Name is the controller's, as in its metrics.
	Name string
	// Workers is how many items are processed at the same time at most. 0 is for unknown: one
	// namespace can then hold all workers.
	Workers int
	// RateLimiter says how long to wait before a failed item is tried again.
	RateLimiter workqueue.TypedRateLimiter[reconcile.Request]
	// Metrics, if set, is where the queue's metrics are registered, under the names of client-go's.
	Metrics prometheus.Registerer
	// Clock is the real one by default.
	Clock clock.WithDelayedExecution
}

// Queue implements controller-runtime's PriorityQueue: a request is in it at most once, and never handed
// out while it is being processed. Use New.
//
// A request that is added again keeps the higher priority and the earlier time, as in controller-runtime's
// own queue. So adding a delayed request without a delay makes it ready and uses up the delay.
type Queue struct {
	rateLimiter workqueue.TypedRateLimiter[reconcile.Request]
	clock       clock.WithDelayedExecution
	metrics     *metrics

	lock sync.Mutex
	// changed is signalled when an item may have become available, or at the shutdown.
	changed *sync.Cond
	// items has all requests that are delayed or ready, or are to be ready when they are no longer processed.
	items      map[reconcile.Request]*item
	delayed    ordered[*item]
	ready      *schedule
	processing map[reconcile.Request]time.Time // since when
	added      uint64
	getters    int // goroutines that wait in GetWithPriority
	wakeAt     time.Time
	timer      clock.Timer // nil unless it is to run at wakeAt
	depth      int
	shutDown   bool
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = &Queue{}

// New returns an empty Queue.
func New(o Options) *Queue {
	q := &Queue{
		rateLimiter: o.RateLimiter,
		clock:       o.Clock,
		items:       map[reconcile.Request]*item{},
		ready:       newSchedule(o.Workers),
		processing:  map[reconcile.Request]time.Time{},
	}
	if q.clock == nil {
		q.clock = clock.RealClock{}
	}
	q.changed = sync.NewCond(&q.lock)
	if o.Metrics != nil {
		q.metrics = newMetrics(o.Metrics, o.Name)
		q.observeUnfinished()
	}
	return q
}

// Add implements workqueue.TypedInterface.
func (q *Queue) Add(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{}, request)
}

// AddAfter implements workqueue.TypedDelayingInterface.
func (q *Queue) AddAfter(request reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, request)
}

// AddRateLimited implements workqueue.TypedRateLimitingInterface.
func (q *Queue) AddRateLimited(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, request)
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q *Queue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	q.lock.Lock()
	defer q.lock.Unlock()
	if q.shutDown {
		return
	}
	now := q.clock.Now()
	q.promote(now)
	for _, request := range requests {
		after := o.After
		if o.RateLimited {
			if backoff := q.rateLimiter.When(request); after == 0 || backoff < after {
				after = backoff
			}
		}
		var readyAt time.Time
		if after > 0 {
			readyAt = now.Add(after)
			q.metrics.retry()
		}
		q.add(request, priorityOf(o), readyAt, now)
	}
	q.arm(now)
}

func priorityOf(o priorityqueue.AddOpts) int {
	if o.Priority == nil {
		return 0
	}
	return *o.Priority
}

// add adds a request, or raises the one that is there. A zero readyAt is for at once.
func (q *Queue) add(request reconcile.Request, priority int, readyAt, now time.Time) {
	i, ok := q.items[request]
	switch {
	case !ok:
		i = &item{request: request, priority: priority, readyAt: readyAt}
		q.items[request] = i
		q.place(i, now)
	case i.readyAt.IsZero(): // it is ready already
		if priority > i.priority {
			q.raise(i, priority)
		}
	default:
		heap.Remove(&q.delayed, i.index)
		i.priority = max(i.priority, priority)
		if readyAt.Before(i.readyAt) {
			i.readyAt = readyAt
		}
		q.place(i, now)
	}
}

// place puts an item that is in no heap where it belongs.
func (q *Queue) place(i *item, now time.Time) {
	q.added++
	i.added = q.added
	if !i.readyAt.IsZero() {
		heap.Push(&q.delayed, i)
		return
	}
	i.readySince = now
	q.depth++
	q.metrics.added(i.priority)
	q.release(i)
}

// release makes an item available, unless its request is being processed: then Done does so.
func (q *Queue) release(i *item) {
	if _, busy := q.processing[i.request]; busy {
		return
	}
	q.ready.push(i)
	q.changed.Signal()
}

// raise gives a ready item a higher priority, as the last one of that priority.
func (q *Queue) raise(i *item, priority int) {
	q.metrics.raised(i.priority, priority)
	q.added++
	i.added = q.added
	if i.line == nil { // its request is being processed
		i.priority = priority
		return
	}
	q.ready.raise(i, priority)
	q.changed.Signal()
}

// promote makes the items ready whose delay is over.
func (q *Queue) promote(now time.Time) {
	for len(q.delayed) > 0 && !q.delayed[0].readyAt.After(now) {
		i := q.delayed[0]
		heap.Pop(&q.delayed)
		i.readyAt = time.Time{}
		q.place(i, now)
	}
}

// arm lets a goroutine that waits in GetWithPriority look again when the next delay is over.
func (q *Queue) arm(now time.Time) {
	if q.getters == 0 || len(q.delayed) == 0 {
		return
	}
	next := q.delayed[0].readyAt
	if q.timer != nil {
		if !next.Before(q.wakeAt) {
			return
		}
		q.timer.Stop()
	}
	q.wakeAt = next
	// In a goroutine of its own, as a fake clock calls it while it holds its lock.
	q.timer = q.clock.AfterFunc(next.Sub(now), func() { go q.wake() })
}

func (q *Queue) wake() {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.timer = nil
	q.changed.Signal()
}

// Get implements workqueue.TypedInterface.
func (q *Queue) Get() (request reconcile.Request, shutDown bool) {
	request, _, shutDown = q.GetWithPriority()
	return request, shutDown
}

// GetWithPriority implements priorityqueue.PriorityQueue. It blocks until there is an item or the queue is
// shut down; what is in the queue then is not processed. The caller has to call Done.
func (q *Queue) GetWithPriority() (request reconcile.Request, priority int, shutDown bool) {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.getters++
	defer func() { q.getters-- }()
	for !q.shutDown {
		now := q.clock.Now()
		q.promote(now)
		if i := q.ready.next(); i != nil {
			q.hand(i, now)
			return i.request, i.priority, false
		}
		q.arm(now)
		q.changed.Wait()
	}
	return reconcile.Request{}, 0, true
}

// hand notes that an item is given to a worker.
func (q *Queue) hand(i *item, now time.Time) {
	delete(q.items, i.request)
	q.processing[i.request] = now
	q.depth--
	q.metrics.taken(i.priority, now.Sub(i.readySince))
}

// Done implements workqueue.TypedInterface.
func (q *Queue) Done(request reconcile.Request) {
	q.lock.Lock()
	defer q.lock.Unlock()
	since, busy := q.processing[request]
	if !busy {
		return
	}
	delete(q.processing, request)
	q.ready.finished(request.Namespace)
	q.metrics.done(q.clock.Since(since))
	if i, ok := q.items[request]; ok && i.readyAt.IsZero() {
		q.release(i)
	}
	q.changed.Signal()
}

// Len returns how many items are ready, with those whose request is still being processed.
func (q *Queue) Len() int {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.promote(q.clock.Now())
	return q.depth
}

// Forget implements workqueue.TypedRateLimitingInterface.
func (q *Queue) Forget(request reconcile.Request) { q.rateLimiter.Forget(request) }

// NumRequeues implements workqueue.TypedRateLimitingInterface.
func (q *Queue) NumRequeues(request reconcile.Request) int { return q.rateLimiter.NumRequeues(request) }

// ShutDown implements workqueue.TypedInterface: no worker gets another item.
func (q *Queue) ShutDown() {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.shutDown = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.changed.Broadcast()
}

// ShutDownWithDrain is ShutDown, as in controller-runtime's own queue: a controller waits for its workers.
func (q *Queue) ShutDownWithDrain() { q.ShutDown() }

// ShuttingDown implements workqueue.TypedInterface.
func (q *Queue) ShuttingDown() bool {
	q.lock.Lock()
	defer q.lock.Unlock()
	return q.shutDown
}

// observeUnfinished sets the metrics of work in progress, now and regularly until the shutdown.
func (q *Queue) observeUnfinished() {
	q.lock.Lock()
	defer q.lock.Unlock()
	if q.shutDown {
		return
	}
	var total, longest time.Duration
	for _, since := range q.processing {
		took := q.clock.Since(since)
		total, longest = total+took, max(longest, took)
	}
	q.metrics.unfinished(total, longest)
	q.clock.AfterFunc(unfinishedInterval, func() { go q.observeUnfinished() })
}
