package controllers

import (
	"context"
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
)

// roleHandler enqueues the Secret of an AWSIAMRole that changes in what the Secret depends on;
// its status is the controller's own. The only annotation that is cached says that labels are
// missing.
func roleHandler() handler.TypedEventHandler[*v1.AWSIAMRole, reconcile.Request] {
	return handler.TypedFuncs[*v1.AWSIAMRole, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1.AWSIAMRole], q queue) {
			priority := priorityWaiting
			if e.Object.Status.AccessKeyID != "" {
				priority = priorityBackground // there is a Secret already
			}
			enqueue(q, client.ObjectKeyFromObject(e.Object), priority)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1.AWSIAMRole], q queue) {
			was, is := e.ObjectOld, e.ObjectNew
			if was.Generation != is.Generation || was.UID != is.UID || !maps.Equal(was.Labels, is.Labels) || !maps.Equal(was.Annotations, is.Annotations) || !was.DeletionTimestamp.Equal(is.DeletionTimestamp) {
				enqueue(q, client.ObjectKeyFromObject(is), priorityWaiting)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1.AWSIAMRole], q queue) {
			enqueue(q, client.ObjectKeyFromObject(e.Object), priorityWaiting)
		},
	}
}
