package controllers

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/fairqueue"
	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secretstore"
)

// The order in which the work of a namespace is done. A pod that waits for its Secret goes before
// a renewal that is due, of which there can be thousands; one that has been due for long goes
// first, so that the namespace's new pods do not delay it further. Between namespaces, waiting and
// urgent work is the same: see pkg/fairqueue. The controller's own credentials go before all
// others, which depend on them.
const (
	priorityBackground = -10
	priorityWaiting    = 0
	priorityUrgent     = 10
	priorityOwn        = fairqueue.Exclusive
)

// Queue is what event sources add Secrets to.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// priorityOf returns the priority of work on a Secret of the controller's own.
func (c *Core) priorityOf(s *corev1.Secret) int {
	issued, expires, err := secret.ReadLifetime(s)
	if err == nil && (renewal.Lifetime{Issued: issued, Expires: expires}).Urgent(c.r.clocks.STS()) {
		return priorityUrgent
	}
	return priorityBackground
}

// Secrets returns a handler that enqueues a Secret that changes. The informer's resync, at fixed
// intervals, finds those that became urgent while they waited in the queue.
func (c *Core) Secrets() handler.TypedEventHandler[*corev1.Secret, reconcile.Request] {
	return handler.TypedFuncs[*corev1.Secret, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*corev1.Secret], q Queue) {
			fairqueue.Add(q, client.ObjectKeyFromObject(e.Object), 0, c.priorityOf(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*corev1.Secret], q Queue) {
			priority := c.priorityOf(e.ObjectNew)
			resync := e.ObjectOld.ResourceVersion == e.ObjectNew.ResourceVersion
			if !resync || priority == priorityUrgent {
				fairqueue.Add(q, client.ObjectKeyFromObject(e.ObjectNew), 0, priority)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*corev1.Secret], q Queue) {
			fairqueue.Add(q, client.ObjectKeyFromObject(e.Object), 0, priorityWaiting)
		},
	}
}

// AWSIAMRoles returns a handler that enqueues the Secret of an AWSIAMRole that changes in what the
// Secret depends on; its status is the controller's own. The only cached annotations say which keys
// are asked for, and that labels are missing.
func (*Core) AWSIAMRoles() handler.TypedEventHandler[*v1.AWSIAMRole, reconcile.Request] {
	return handler.TypedFuncs[*v1.AWSIAMRole, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1.AWSIAMRole], q Queue) {
			priority := priorityWaiting
			if e.Object.Status.AccessKeyID != "" {
				priority = priorityBackground // the Secret exists already
			}
			fairqueue.Add(q, client.ObjectKeyFromObject(e.Object), 0, priority)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1.AWSIAMRole], q Queue) {
			before, after := e.ObjectOld, e.ObjectNew
			if before.Generation != after.Generation || before.UID != after.UID || !maps.Equal(before.Labels, after.Labels) ||
				!maps.Equal(before.Annotations, after.Annotations) || !before.DeletionTimestamp.Equal(after.DeletionTimestamp) {
				fairqueue.Add(q, client.ObjectKeyFromObject(after), 0, priorityWaiting)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1.AWSIAMRole], q Queue) {
			fairqueue.Add(q, client.ObjectKeyFromObject(e.Object), 0, priorityWaiting)
		},
	}
}

// RequestSource enqueues the Secrets whose consumers change, or what their ServiceAccount asks for.
// It implements source.SyncingSource.
type RequestSource struct{ core *Core }

// Requests returns the source of events of pods and ServiceAccounts.
func (c *Core) Requests() RequestSource { return RequestSource{c} }

// Start implements source.Source.
func (s RequestSource) Start(ctx context.Context, q Queue) error {
	s.core.r.pods.Subscribe(func(name types.NamespacedName) { s.enqueue(ctx, q, name, true) })
	s.core.r.accounts.Subscribe(func(name types.NamespacedName) {
		consumers, strangers := s.core.r.pods.ConsumersOf(name)
		account, _ := s.core.r.accounts.ForSecret(name)
		s.enqueue(ctx, q, name, len(consumers)+len(strangers) > 0 || account.InjectsLate) // most have no pod that mounts it
	})
	return nil
}

// enqueue enqueues a Secret that exists, or that a pod waits for.
func (s RequestSource) enqueue(ctx context.Context, q Queue, name types.NamespacedName, isAsked bool) {
	var existing corev1.Secret
	switch err := s.core.cached.Get(ctx, name, &existing); {
	case err == nil:
		fairqueue.Add(q, name, 0, s.core.priorityOf(&existing))
	case isAsked:
		fairqueue.Add(q, name, 0, priorityWaiting)
	}
}

// String names the source in the error of a controller that waits for it in vain.
func (RequestSource) String() string { return "pods and ServiceAccounts" }

// WaitForSync implements source.SyncingSource: nothing is decided before all pods and
// ServiceAccounts are known.
func (s RequestSource) WaitForSync(ctx context.Context) error {
	return filteredwatch.AwaitSync(ctx, s.core.r.pods.Scopes, s.core.r.accounts.Scopes)
}

// firstReview is when to ask for reviews after a change, as the API server itself has to see it.
const firstReview = 500 * time.Millisecond

// Policies returns a handler that enqueues the Secrets about which decisions can be others now, of
// events of what decisions depend on, as bare metadata.
func (c *Core) Policies() handler.TypedEventHandler[*metav1.PartialObjectMetadata, reconcile.Request] {
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], q Queue) {
			if !e.IsInInitialList {
				c.enqueueScope(ctx, authorization.Scope(e.Object), q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*metav1.PartialObjectMetadata], q Queue) {
			if !authorization.SameRights(e.ObjectOld, e.ObjectNew) {
				c.enqueueScope(ctx, authorization.Scope(e.ObjectNew), q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*metav1.PartialObjectMetadata], q Queue) {
			c.enqueueScope(ctx, authorization.Scope(e.Object), q)
		},
	}
}

// enqueueScope enqueues the Secrets of a namespace in which rights changed, or with "" all.
func (c *Core) enqueueScope(ctx context.Context, namespace string, q Queue) {
	if !c.r.reviewer.Changes.Observe(namespace, c.r.clocks.Local()) {
		return
	}
	waiting := c.r.pods.SecretsIn(namespace)
	for _, name := range c.r.secrets.Names(ctx, c.cached, namespace) {
		after := firstReview
		if namespace == "" {
			after += time.Duration(renewal.Fraction(name.String()) * float64(authorization.SweepDelay))
		}
		waiting.Delete(name)
		fairqueue.Add(q, name, after, priorityBackground)
	}
	for _, name := range secretstore.Sorted(waiting) {
		fairqueue.Add(q, name, firstReview, priorityWaiting)
	}
}
