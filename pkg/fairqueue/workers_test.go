package fairqueue_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/fairqueue"
)

// worker gets an item in the background and sends it to the channel.
func (q testQueue) worker() <-chan string {
	got := make(chan string, 1)
	go func() {
		if r, shutDown := q.Get(); shutDown {
			got <- "shutdown"
		} else {
			got <- r.String()
		}
	}()
	synctest.Wait()
	return got
}

// arrived returns what a worker got, "" if it still waits.
func arrived(worker <-chan string) string {
	synctest.Wait()
	select {
	case key := <-worker:
		return key
	default:
		return ""
	}
}

// inBubble runs a test in a synctest bubble, in which goroutines can wait for the queue.
func inBubble(t *testing.T, workers int, test func(q testQueue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := testQueue{fairqueue.New(fairqueue.Options{Workers: workers}), t, nil}
		defer q.ShutDown()
		test(q)
	})
}

func TestQueue_GetWaits(t *testing.T) {
	inBubble(t, 0, func(q testQueue) {
		first, second, third := q.worker(), q.worker(), q.worker()
		q.add(waiting, time.Minute, "a/late")
		q.add(waiting, time.Second, "a/soon b/soon")
		if got := arrived(first) + arrived(second) + arrived(third); got != "" {
			q.t.Fatalf("got %s before its time", got)
		}
		time.Sleep(time.Second)
		var got []string
		for _, worker := range []<-chan string{first, second, third} {
			got = append(got, arrived(worker))
		}
		if all := strings.Join(got, ""); all != "a/soonb/soon" && all != "b/soona/soon" {
			q.t.Errorf("got %q when the delays of two were over", got)
		}
		time.Sleep(time.Minute)
		if all := arrived(first) + arrived(second) + arrived(third); all != "a/late" {
			q.t.Errorf("got %q", all)
		}
	})
}

func TestQueue_GetWaitsForDone(t *testing.T) {
	inBubble(t, 0, func(q testQueue) {
		q.add(waiting, 0, "a/1")
		q.get()
		q.add(waiting, 0, "a/1")
		worker := q.worker()
		if got := arrived(worker); got != "" {
			q.t.Fatalf("%s was returned twice", got)
		}
		q.Done(request("a/1"))
		if got := arrived(worker); got != "a/1" {
			q.t.Errorf("got %q", got)
		}
	})
}

// One namespace cannot occupy all workers, and others get a worker immediately.
func TestQueue_ShareOfWorkers(t *testing.T) {
	for _, row := range []struct {
		name             string
		workers          int
		one, both, three int // items in process: of one namespace alone, of it and a second, and of all three
	}{
		{"one worker", 1, 1, 1, 1},
		{"few workers", 4, 2, 3, 4},
		{"eight workers", 8, 4, 6, 7},
		{"64 workers", 64, 32, 48, 56},
		{"an unknown number", 0, 100, 200, 300},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, row.workers, func(q testQueue) {
				got := make(chan string, 1000)
				workers := row.workers
				if workers == 0 {
					workers = 300
				}
				for range workers {
					go func() {
						if r, shutDown := q.Get(); !shutDown {
							got <- r.Namespace
						}
					}()
				}
				for i, want := range []int{row.one, row.both, row.three} {
					for n := range 100 {
						q.Add(request(string(rune('a'+i)) + "/" + string(rune('0'+n))))
					}
					synctest.Wait()
					if len(got) != want {
						q.t.Errorf("%d items of %d namespaces are in process, want %d", len(got), i+1, want)
					}
				}
			})
		})
	}
}

// Slow items of all namespaces together occupy a quarter of the workers; the others are processed
// meanwhile. When a slow item is done, the next one gets its worker.
func TestQueue_ShareOfSlowItems(t *testing.T) {
	for _, row := range []struct {
		name          string
		workers, slow int
	}{
		{"one worker", 1, 1},
		{"three workers", 3, 1},
		{"eight workers", 8, 2},
		{"64 workers", 64, 16},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				isSlow := func(r reconcile.Request) bool { return r.Name == "slow" }
				q := testQueue{fairqueue.New(fairqueue.Options{Workers: row.workers, Slow: isSlow}), t, nil}
				defer q.ShutDown()
				got := make(chan reconcile.Request, 1000)
				for range row.workers {
					go func() {
						if r, shutDown := q.Get(); !shutDown {
							got <- r
						}
					}()
				}
				for n := range 100 { // each in a namespace of its own, which can always have a worker
					q.add(waiting, 0, fmt.Sprintf("n%d/slow", n))
				}
				if synctest.Wait(); len(got) != row.slow {
					t.Fatalf("%d slow items are in process, want %d", len(got), row.slow)
				}
				for n := range 100 {
					q.add(background, 0, fmt.Sprintf("n%d/other", n))
				}
				if synctest.Wait(); len(got) != row.workers {
					t.Fatalf("%d items are in process, want %d", len(got), row.workers)
				}
				done := <-got
				next := q.worker()
				if key := arrived(next); key != "" && strings.HasSuffix(key, "slow") {
					t.Fatalf("%s got a worker beyond the share", key)
				}
				q.Done(done)
				if key := arrived(q.worker()); !strings.HasSuffix(key, "slow") {
					t.Errorf("%q got the worker of a slow item", key)
				}
			})
		})
	}
}

// A namespace that has its share of workers gets another one when one of its items is done.
func TestQueue_ShareMovesOn(t *testing.T) {
	inBubble(t, 8, func(q testQueue) {
		q.add(waiting, 0, "a/1 a/2 a/3 a/4 a/5 a/6 a/7 a/8")
		for range 4 {
			q.get()
		}
		worker := q.worker()
		if got := arrived(worker); got != "" {
			q.t.Fatalf("%s got a worker beyond its share", got)
		}
		q.Done(request("a/3"))
		if got := arrived(worker); got != "a/5" {
			q.t.Errorf("got %q", got)
		}
	})
}

func TestQueue_ShutDown(t *testing.T) {
	inBubble(t, 0, func(q testQueue) {
		first, second := q.worker(), q.worker()
		q.add(waiting, time.Minute, "a/1")
		if q.ShuttingDown() {
			q.t.Error("it is shutting down before")
		}
		q.ShutDownWithDrain()
		q.ShutDown()
		if got := arrived(first) + arrived(second); got != "shutdownshutdown" {
			q.t.Errorf("the workers got %q", got)
		}
		q.add(waiting, 0, "a/2")
		if got := arrived(q.worker()); got != "shutdown" || !q.ShuttingDown() || q.Len() != 0 {
			q.t.Errorf("afterwards a worker got %q of %d", got, q.Len())
		}
	})
}

// Workers that a namespace with much slow work has taken do not delay another one: with 64
// workers of 1.5 s each, all of which began at the same time, its items are processed at once.
func TestQueue_SlowWorkDelaysNoOtherNamespace(t *testing.T) {
	inBubble(t, 64, func(q testQueue) {
		var lock sync.Mutex
		added, waited := map[string]time.Time{}, map[string]time.Duration{}
		inProcess := map[string]bool{}
		work := func() {
			for {
				r, shutDown := q.Get()
				if shutDown {
					return
				}
				lock.Lock()
				if inProcess[r.String()] {
					q.t.Errorf("%s is processed twice at the same time", r)
				}
				inProcess[r.String()] = true
				waited[r.String()] = time.Since(added[r.String()])
				lock.Unlock()

				time.Sleep(1500 * time.Millisecond)

				lock.Lock()
				inProcess[r.String()] = false
				lock.Unlock()
				q.Done(r)
			}
		}
		for range 64 {
			go work()
		}
		add := func(key string) {
			lock.Lock()
			added[key] = time.Now()
			lock.Unlock()
			q.Add(request(key))
		}
		for i := range 1000 {
			add(fmt.Sprintf("a/%d", i))
		}
		for i := range 20 {
			time.Sleep(250 * time.Millisecond)
			add(fmt.Sprintf("b/%d", i))
		}
		time.Sleep(time.Minute)
		lock.Lock()
		defer lock.Unlock()
		if len(waited) != 1020 {
			q.t.Errorf("%d items were processed, want 1020", len(waited))
		}
		for i := range 20 {
			if w := waited[fmt.Sprintf("b/%d", i)]; w > 0 {
				q.t.Errorf("item %d of the other namespace waited %s", i, w)
			}
		}
	})
}
