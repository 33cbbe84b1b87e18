package fairqueue

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

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

// GetWithPriority implements priorityqueue.PriorityQueue. It blocks until there is an item or the
// queue is shut down; what is in the queue then is not processed. The caller has to call Done.
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
