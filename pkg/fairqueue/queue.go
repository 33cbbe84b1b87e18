// Package fairqueue has the work queue of a controller whose namespaces belong to different
// teams. It shares the workers between namespaces, so that one with much work does not delay the
// others.
//
// A worker that is free takes an item of the namespace that has the fewest items in process;
// among equals, namespaces take turns. This is max-min fair in workers: a namespace gets what it
// asks for, or as much as any other. No namespace can hold all workers, even if no other asks for
// one: of 64, one namespace can have 32. What takes long, such as a slow answer of AWS, then
// finds another namespace's work a free worker.
//
// Priorities order the items of one namespace: higher ones first, equal ones in the order in
// which they became ready. Between namespaces there are three classes only, so that one does not
// come before others by making its work urgent:
//
//   - Items of priority Exclusive and above go before all others, and are for the controller's
//     own needs.
//   - Items of priority 0 and above are the foreground.
//   - Items below 0 are the background. They are processed when no foreground item can be, and
//     after seven foreground items in a row, so that no load of the foreground stops them.
package fairqueue

import (
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

// Queue implements controller-runtime's PriorityQueue: a request is in it at most once, and never
// handed out while it is being processed. Use New.
//
// A request that is added again keeps the higher priority and the earlier time, as in
// controller-runtime's own queue. So adding a delayed request without a delay makes it ready and
// uses up the delay.
type Queue struct {
	rateLimiter workqueue.TypedRateLimiter[reconcile.Request]
	clock       clock.WithDelayedExecution
	metrics     *metrics

	lock sync.Mutex
	// changed wakes a worker when an item can have become available, or at the shutdown.
	changed *sync.Cond
	// items has all requests that are delayed or ready, or are to be ready when they are no
	// longer processed.
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

// ShutDownWithDrain is ShutDown, as in controller-runtime's own queue: a controller waits for its
// workers.
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
