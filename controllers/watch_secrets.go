package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/fairqueue"
	"kube-aws-iam-controller/pkg/refresh"
	"kube-aws-iam-controller/pkg/secret"
)

// The order in which the work of a namespace is done. A pod that waits for its Secret goes before
// a refresh that is due, of which there can be thousands; one that has been due for long goes
// first, so that the namespace's new pods do not delay it further. Between namespaces, waiting
// and urgent work is the same: see pkg/fairqueue. The controller's own credentials go before all
// others, which depend on them.
const (
	priorityBackground = -10
	priorityWaiting    = 0
	priorityUrgent     = 10
	priorityOwn        = fairqueue.Exclusive
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// enqueue adds a Secret to the queue, or raises the priority of the one that is there.
func enqueue(q queue, s types.NamespacedName, priority int) { enqueueAfter(q, s, 0, priority) }

// enqueueAfter is enqueue some time later; a Secret that is there already comes at the earlier time.
func enqueueAfter(q queue, s types.NamespacedName, after time.Duration, priority int) {
	request := reconcile.Request{NamespacedName: s}
	if p, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		p.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: new(priority)}, request)
		return
	}
	q.AddAfter(request, after)
}

// priorityOf is the priority of work on a Secret of the controller's own.
func priorityOf(s *corev1.Secret, c clock.PassiveClock) int {
	issued, expires, err := secret.ReadLifetime(s)
	if err == nil && (refresh.Lifetime{Issued: issued, Expires: expires}).Urgent(c.Now()) {
		return priorityUrgent
	}
	return priorityBackground
}

// secretHandler enqueues a Secret that changes. The informer's resync, which comes at fixed intervals, finds those that became urgent while
// they waited in the queue.
func secretHandler(c clock.PassiveClock) handler.TypedEventHandler[*corev1.Secret, reconcile.Request] {
	return handler.TypedFuncs[*corev1.Secret, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*corev1.Secret], q queue) {
			enqueue(q, client.ObjectKeyFromObject(e.Object), priorityOf(e.Object, c))
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*corev1.Secret], q queue) {
			priority := priorityOf(e.ObjectNew, c)
			resync := e.ObjectOld.ResourceVersion == e.ObjectNew.ResourceVersion
			if !resync || priority == priorityUrgent {
				enqueue(q, client.ObjectKeyFromObject(e.ObjectNew), priority)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*corev1.Secret], q queue) {
			enqueue(q, client.ObjectKeyFromObject(e.Object), priorityWaiting)
		},
	}
}

// podSource enqueues the Secrets for which the wanting pods change.
type podSource struct {
	pods    *podStore
	secrets client.Reader
	clock   clock.PassiveClock
}

// Start implements source.Source.
func (s podSource) Start(ctx context.Context, q queue) error {
	s.pods.listen(func(name types.NamespacedName) {
		priority := priorityWaiting
		var existing corev1.Secret
		if err := s.secrets.Get(ctx, name, &existing); err == nil {
			priority = priorityOf(&existing, s.clock)
		}
		enqueue(q, name, priority)
	})
	return nil
}

// WaitForSync implements source.SyncingSource: nothing is decided before all pods are known.
func (s podSource) WaitForSync(ctx context.Context) error {
	select {
	case <-s.pods.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
