package fairqueue_test

import (
	"fmt"
	"testing"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/fairqueue"
)

// BenchmarkQueue adds an item to a queue of many and takes one.
func BenchmarkQueue(b *testing.B) {
	for _, size := range []struct{ items, namespaces int }{{4_000, 1}, {4_000, 20}, {40_000, 1}, {40_000, 40_000}} {
		b.Run(fmt.Sprintf("%d items of %d namespaces", size.items, size.namespaces), func(b *testing.B) {
			q := fairqueue.New(fairqueue.Options{Workers: 64, RateLimiter: workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]()})
			defer q.ShutDown()
			for i := range size.items {
				q.Add(request(fmt.Sprintf("%d/%d", i%size.namespaces, i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				r, _ := q.Get()
				q.Done(r)
				q.Add(r)
			}
		})
	}
}
