package fairqueue_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/fairqueue"
)

// request parses "namespace/name".
func request(key string) reconcile.Request {
	namespace, name, _ := strings.Cut(key, "/")
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// testQueue is a Queue with a fake clock.
type testQueue struct {
	*fairqueue.Queue
	t     *testing.T
	clock *clocktesting.FakeClock
}

func newTestQueue(t *testing.T, workers int) testQueue {
	t.Helper()
	return newTestQueueWith(t, fairqueue.Options{Workers: workers})
}

// newTestQueueWith returns a testQueue with these options, a rate limiter and a fake clock.
func newTestQueueWith(t *testing.T, o fairqueue.Options) testQueue {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	o.Clock, o.RateLimiter = clock, workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute)
	q := fairqueue.New(o)
	t.Cleanup(q.ShutDown)
	return testQueue{q, t, clock}
}

// add adds requests, separated by spaces.
func (q testQueue) add(priority int, after time.Duration, keys string) {
	for key := range strings.FieldsSeq(keys) {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &priority, After: after}, request(key))
	}
}

// get takes one request.
func (q testQueue) get() string {
	q.t.Helper()
	if q.Len() == 0 {
		q.t.Fatal("no item is ready")
	}
	got, _ := q.Get()
	return got.String()
}

// process takes all requests, one after the other, and returns their order.
func (q testQueue) process() string {
	q.t.Helper()
	var all []string
	for q.Len() > 0 {
		key := q.get()
		all = append(all, key)
		q.Done(request(key))
	}
	return strings.Join(all, " ")
}

const (
	background = -10
	waiting    = 0
	urgent     = 10
)

func TestQueue_Order(t *testing.T) {
	for _, row := range []struct {
		name string
		add  func(testQueue)
		want string
	}{
		{"equal priorities of a namespace in the order of their arrival", func(q testQueue) {
			q.add(waiting, 0, "a/3 a/1 a/2")
		}, "a/3 a/1 a/2"},
		{"higher priorities of a namespace first", func(q testQueue) {
			q.add(background, 0, "a/1")
			q.add(waiting, 0, "a/2")
			q.add(urgent, 0, "a/3")
			q.add(urgent-1, 0, "a/4")
		}, "a/3 a/4 a/2 a/1"},
		{"namespaces take turns", func(q testQueue) {
			q.add(waiting, 0, "a/1 a/2 a/3 a/4 b/1 b/2 c/1")
		}, "a/1 b/1 c/1 a/2 b/2 a/3 a/4"},
		{"urgent work of a namespace does not come before the new pods of others", func(q testQueue) {
			q.add(urgent, 0, "a/1 a/2 a/3")
			q.add(waiting, 0, "b/1 b/2 b/3")
		}, "a/1 b/1 a/2 b/2 a/3 b/3"},
		{"the background after the foreground of all namespaces", func(q testQueue) {
			q.add(background, 0, "a/1 a/2 b/1")
			q.add(waiting, 0, "a/3 c/1")
		}, "a/3 c/1 a/1 b/1 a/2"},
		{"the background after seven foreground items in a row", func(q testQueue) {
			q.add(waiting, 0, "a/1 a/2 a/3 a/4 a/5 a/6 a/7 a/8")
			q.add(background, 0, "b/1 b/2 c/1")
		}, "a/1 a/2 a/3 a/4 a/5 a/6 a/7 b/1 a/8 c/1 b/2"},
		{"an exclusive request first", func(q testQueue) {
			q.add(urgent, 0, "a/1")
			q.add(fairqueue.Exclusive, 0, "kube-system/seed")
		}, "kube-system/seed a/1"},
		{"a request once, however often it is added", func(q testQueue) {
			q.add(waiting, 0, "a/1 a/2 a/1 a/1")
		}, "a/1 a/2"},
		{"a request that is raised as the last one of its new priority", func(q testQueue) {
			q.add(waiting, 0, "a/1 a/2")
			q.add(urgent, 0, "a/3")
			q.add(urgent, 0, "a/1")
			q.add(waiting, 0, "a/3")
		}, "a/3 a/1 a/2"},
		{"a request that is raised to the foreground", func(q testQueue) {
			q.add(background, 0, "b/1 b/2")
			q.add(waiting, 0, "a/1 a/2")
			q.add(waiting, 0, "b/2")
		}, "a/1 b/2 a/2 b/1"},
		{"a namespace keeps its turn when a request is raised", func(q testQueue) {
			q.add(waiting, 0, "b/1 a/1 a/2")
			q.add(urgent, 0, "b/1")
		}, "b/1 a/1 a/2"},
		{"no delayed request", func(q testQueue) {
			q.add(waiting, time.Second, "a/1")
		}, ""},
		{"a delayed request that is added without a delay", func(q testQueue) {
			q.add(urgent, time.Second, "a/1")
			q.add(waiting, 0, "a/2")
			q.add(background, 0, "a/1")
		}, "a/1 a/2"},
		{"a ready request that is added with a delay", func(q testQueue) {
			q.add(background, 0, "a/1")
			q.add(waiting, 0, "a/2 a/3")
			q.add(waiting, time.Second, "a/1")
		}, "a/2 a/3 a/1"},
		{"a delayed request once after it was added without a delay", func(q testQueue) {
			q.add(waiting, time.Second, "a/1")
			q.add(waiting, 0, "a/1")
			q.clock.Step(time.Minute)
		}, "a/1"},
		{"by the end of the delay", func(q testQueue) {
			q.add(waiting, 3*time.Second, "a/3")
			q.add(waiting, time.Second, "a/1")
			q.add(waiting, 2*time.Second, "a/2 a/4")
			q.clock.Step(2 * time.Second)
		}, "a/1 a/2 a/4"},
		{"at the earlier of two times", func(q testQueue) {
			q.add(waiting, time.Minute, "a/1")
			q.add(waiting, time.Second, "a/1 a/2")
			q.add(waiting, time.Minute, "a/2")
			q.clock.Step(time.Second)
		}, "a/1 a/2"},
		{"with the higher of two priorities", func(q testQueue) {
			q.add(urgent, time.Second, "a/1")
			q.add(background, time.Second, "a/1")
			q.add(waiting, time.Second, "a/2")
			q.add(background, time.Minute, "a/3")
			q.add(urgent, time.Second, "a/3")
			q.clock.Step(time.Second)
		}, "a/1 a/3 a/2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			q := newTestQueue(t, 1)
			row.add(q)
			if got := q.process(); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestQueue_FewestInProcessFirst(t *testing.T) {
	q := newTestQueue(t, 0)
	q.add(waiting, 0, "a/1 a/2 a/3 a/4")
	for range 2 {
		q.get() // stays in process
	}
	q.add(waiting, 0, "b/1 b/2 b/3 b/4")
	var got []string
	for range 4 {
		got = append(got, q.get())
	}
	if strings.Join(got, " ") != "b/1 b/2 a/3 b/3" {
		t.Errorf("got %v", got)
	}
	q.Done(request("a/1"))
	q.Done(request("a/2"))
	if next := q.get(); next != "a/4" {
		t.Errorf("got %s", next)
	}
}

// A request that is added while it is being processed comes again afterwards, and never at the
// same time.
func TestQueue_AddedWhileProcessed(t *testing.T) {
	for _, row := range []struct {
		name string
		add  func(testQueue)
	}{
		{"at once", func(q testQueue) { q.add(waiting, 0, "a/1") }},
		{"twice", func(q testQueue) { q.add(waiting, 0, "a/1"); q.add(urgent, 0, "a/1") }},
		{"after a delay that ends before", func(q testQueue) { q.add(waiting, time.Second, "a/1"); q.clock.Step(time.Second) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			q := newTestQueue(t, 0)
			q.add(waiting, 0, "a/1")
			q.get()
			row.add(q)
			if q.Len() != 1 {
				t.Errorf("%d items are ready", q.Len())
			}
			q.add(background, 0, "z/other")
			if got := q.get(); got != "z/other" {
				t.Fatalf("%s was returned twice", got)
			}
			q.Done(request("a/1"))
			if got := q.process(); got != "a/1" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestQueue_DoneWithoutGet(t *testing.T) {
	q := newTestQueue(t, 1)
	q.add(waiting, 0, "a/1")
	q.Done(request("a/1"))
	if got := q.process(); got != "a/1" {
		t.Errorf("got %q", got)
	}
}

func TestQueue_RateLimited(t *testing.T) {
	q := newTestQueue(t, 1)
	q.AddRateLimited(request("a/1"))
	q.clock.Step(time.Second - 1)
	if q.Len() != 0 {
		t.Error("ready before its time")
	}
	q.clock.Step(1)
	if got := q.process(); got != "a/1" {
		t.Errorf("got %q", got)
	}
	q.AddRateLimited(request("a/1"))
	if n := q.NumRequeues(request("a/1")); n != 2 {
		t.Errorf("%d requeues", n)
	}
	q.clock.Step(time.Second)
	if q.Len() != 0 {
		t.Error("the second delay is no longer than the first")
	}
	q.Forget(request("a/1"))
	if n := q.NumRequeues(request("a/1")); n != 0 {
		t.Errorf("%d requeues", n)
	}
	// The shorter of two delays counts.
	q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute, RateLimited: true}, request("a/2"))
	q.clock.Step(time.Second)
	if got := q.process(); got != "a/1 a/2" {
		t.Errorf("got %q", got)
	}
}

func TestQueue_Priority(t *testing.T) {
	q := newTestQueue(t, 0)
	q.add(urgent, 0, "a/1")
	q.AddAfter(request("a/2"), 0)
	for _, want := range []int{urgent, 0} {
		if _, priority, _ := q.GetWithPriority(); priority != want {
			t.Errorf("priority %d, want %d", priority, want)
		}
	}
}
