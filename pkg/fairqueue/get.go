package fairqueue

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// setTimer wakes a goroutine that waits in GetWithPriority, if one does, when the next delay ends.
func (q *Queue) setTimer(now time.Time) {
	if len(q.delayed) == 0 {
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
	// A fake clock calls the function while it holds its own lock, so it needs its own goroutine.
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

// GetWithPriority implements priorityqueue.PriorityQueue. It blocks until an item is available or
// the queue is shut down, which drops its items. The caller must call Done.
func (q *Queue) GetWithPriority() (request reconcile.Request, priority int, shutDown bool) {
	q.lock.Lock()
	defer q.lock.Unlock()
	for !q.shutDown {
		now := q.clock.Now()
		q.promote(now)
		if i := q.ready.next(); i != nil {
			q.start(i, now)
			return i.request, i.priority, false
		}
		q.setTimer(now)
		q.changed.Wait()
	}
	return reconcile.Request{}, 0, true
}

// start moves an item from the ready ones to those in process.
func (q *Queue) start(i *item, now time.Time) {
	delete(q.items, i.request)
	q.processing[i.request] = now
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
	q.ready.finished(request.Namespace, q.slow(request))
	q.metrics.done(q.clock.Since(since))
	if i, ok := q.items[request]; ok && i.readyAt.IsZero() {
		q.release(i)
	}
	q.changed.Signal()
}
