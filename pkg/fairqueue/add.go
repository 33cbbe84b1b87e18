package fairqueue

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

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
	q.setTimer(now)
}

func priorityOf(o priorityqueue.AddOpts) int {
	if o.Priority == nil {
		return 0
	}
	return *o.Priority
}

// add adds a request, or updates its item if there is one. A zero readyAt means without delay.
func (q *Queue) add(request reconcile.Request, priority int, readyAt, now time.Time) {
	i, ok := q.items[request]
	switch {
	case !ok:
		i = &item{request: request, priority: priority, readyAt: readyAt, slow: q.slow(request)}
		q.items[request] = i
		q.place(i, now)
	case i.readyAt.IsZero(): // already ready
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

// place puts an item that is in no heap into the delayed or the ready ones.
func (q *Queue) place(i *item, now time.Time) {
	q.added++
	i.added = q.added
	if !i.readyAt.IsZero() {
		heap.Push(&q.delayed, i)
		return
	}
	i.readySince = now
	q.metrics.added(i.priority)
	q.release(i)
}

// release makes a ready item available to workers. If its request is being processed, Done does
// that.
func (q *Queue) release(i *item) {
	if _, busy := q.processing[i.request]; busy {
		return
	}
	q.ready.push(i)
	q.changed.Signal()
}

// raise gives a ready item a higher priority. It becomes the last item of that priority.
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

// promote makes the items ready whose delay has ended.
func (q *Queue) promote(now time.Time) {
	for len(q.delayed) > 0 && !q.delayed[0].readyAt.After(now) {
		i := q.delayed[0]
		heap.Pop(&q.delayed)
		i.readyAt = time.Time{}
		q.place(i, now)
	}
}

// Add adds a Secret to a queue after some time. One that is in the queue comes at the earlier of
// both times and with the higher of both priorities. A queue without priorities ignores them.
func Add(q workqueue.TypedRateLimitingInterface[reconcile.Request], s types.NamespacedName, after time.Duration, priority int) {
	request := reconcile.Request{NamespacedName: s}
	if p, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		p.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: new(priority)}, request)
		return
	}
	q.AddAfter(request, after)
}
