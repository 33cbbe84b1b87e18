// Package fairqueue implements the work queue of a controller whose namespaces belong to different
// teams. It shares the workers fairly between namespaces, so that a namespace with much work does
// not delay the others.
//
// A free worker takes an item of the namespace with the fewest items in process; namespaces with
// the same number take turns. This is max-min fairness of workers: a namespace gets as many as it
// needs, or as many as any other. No namespace can occupy all workers, even if it is the only one
// with work: of 64 workers it can occupy 32. So while its items are slow, for example because AWS
// is, there is a free worker for the items of others.
//
// Slow requests, for example those that have a low rate limit of their own, occupy a quarter of the
// workers at most, all namespaces together, so that a backlog of them does not delay the others.
//
// Priorities order the items of one namespace: higher priorities first, items of equal priority in
// the order in which they became ready. Between namespaces there are only three classes, so that a
// namespace cannot overtake others by raising the priority of its items:
//
//   - Items of priority Exclusive and above are processed before all others. They are for the
//     controller's own credentials.
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

// Exclusive is the lowest priority of items that are processed before all others. Nothing that the
// users of a namespace can cause must have it.
const Exclusive = 100

// Options are the settings of a Queue.
type Options struct {
	// Name is the controller's, as in its metrics.
	Name string
	// Workers is the number of workers. If it is 0, it is unknown, and one namespace can occupy all
	// workers.
	Workers int
	// Slow reports whether processing a request can wait for long, for example for a rate limit
	// that other requests do not have. Slow requests occupy a quarter of the workers at most. It
	// returns the same for a request each time; nil means that none is slow.
	Slow func(reconcile.Request) bool
	// RateLimiter returns the delay of an item that is added by AddRateLimited.
	RateLimiter workqueue.TypedRateLimiter[reconcile.Request]
	// Metrics is where the queue's metrics are registered, under client-go's names. It can be nil.
	Metrics prometheus.Registerer
	// Clock is the real clock by default.
	Clock clock.WithDelayedExecution
}

// Queue implements controller-runtime's PriorityQueue: it holds a request at most once, and does
// not return a request that is being processed. Use New to create one.
//
// A request that is added again keeps the higher priority and the earlier time, as in
// controller-runtime's own queue. So adding a delayed request without a delay makes it ready and
// uses up the delay.
type Queue struct {
	slow        func(reconcile.Request) bool
	rateLimiter workqueue.TypedRateLimiter[reconcile.Request]
	clock       clock.WithDelayedExecution
	metrics     *metrics

	lock sync.Mutex
	// changed wakes a worker when an item can have become available, or at the shutdown.
	changed *sync.Cond
	// items has all requests that are delayed, ready, or were added while they are processed.
	items      map[reconcile.Request]*item
	delayed    ordered[*item]
	ready      *schedule
	processing map[reconcile.Request]time.Time // since when
	added      uint64
	wakeAt     time.Time
	timer      clock.Timer // nil unless it is to run at wakeAt
	shutDown   bool
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = &Queue{}

// New returns an empty Queue.
func New(o Options) *Queue {
	q := &Queue{
		slow:        o.Slow,
		rateLimiter: o.RateLimiter,
		clock:       o.Clock,
		items:       map[reconcile.Request]*item{},
		ready:       newSchedule(o.Workers),
		processing:  map[reconcile.Request]time.Time{},
	}
	if q.slow == nil {
		q.slow = func(reconcile.Request) bool { return false }
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

// Len returns the number of ready items, including those whose request is still being processed.
func (q *Queue) Len() int {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.promote(q.clock.Now())
	return len(q.items) - len(q.delayed)
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

// ShutDownWithDrain is the same as ShutDown, as in controller-runtime's own queue: the controller
// waits for its workers.
func (q *Queue) ShutDownWithDrain() { q.ShutDown() }

// ShuttingDown implements workqueue.TypedInterface.
func (q *Queue) ShuttingDown() bool {
	q.lock.Lock()
	defer q.lock.Unlock()
	return q.shutDown
}

// observeUnfinished sets the metrics of work in progress, now and periodically until the shutdown.
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
