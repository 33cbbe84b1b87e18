package controllers_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/controllers"
)

const stsLatency = 30 * time.Millisecond

// arrivals notes when each Secret of the namespace was first seen by a watch.
type arrivals struct {
	lock sync.Mutex
	at   map[string]time.Time
	more chan struct{}
}

// fast starts a controller with the default flags, and a client without a rate limit that sees Secrets arrive.
func (w *world) fast() *arrivals {
	w.t.Helper()
	w.sts.SetLatency(stsLatency)
	w.start(func(o *controllers.Options) { o.MaxConcurrentReconciles, o.RefreshLimit = 64, 30*time.Minute })
	events, err := w.Watch(w.t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))
	w.must(err)
	a := &arrivals{at: map[string]time.Time{}, more: make(chan struct{}, 1)}
	go func() {
		for e := range events.ResultChan() {
			if s, ok := e.Object.(*corev1.Secret); ok && e.Type == watch.Added {
				a.lock.Lock()
				a.at[s.Name] = time.Now()
				a.lock.Unlock()
				select {
				case a.more <- struct{}{}:
				default:
				}
			}
		}
	}()
	w.pod("warm", role("warm"))
	a.wait(1)
	return a
}

func (a *arrivals) wait(n int) {
	for {
		a.lock.Lock()
		have := len(a.at)
		a.lock.Unlock()
		if have >= n {
			return
		}
		<-a.more
	}
}

// BenchmarkOnePod is the time from a pod's creation until its Secret is seen, with an idle controller and an STS that takes 30 ms.
func BenchmarkOnePod(b *testing.B) {
	w := newWorld(b)
	a := w.fast()
	var took []time.Duration
	for b.Loop() {
		name := fmt.Sprintf("pod-%d", len(took))
		began := time.Now()
		w.pod(name, role(name))
		a.wait(len(took) + 2)
		took = append(took, a.at["aws-iam-"+name].Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "ms-p99")
}

// BenchmarkBurst is the time from the last of 1,000 pods, created over one second, until the last of their 500 Secrets is seen.
func BenchmarkBurst(b *testing.B) {
	const pods, secrets, creators = 1000, 500, 20
	for b.Loop() {
		w := newWorld(b)
		a := w.fast()
		tick := time.NewTicker(time.Second / pods)
		next := make(chan int)
		var creating sync.WaitGroup
		for range creators {
			creating.Go(func() {
				for i := range next {
					w.pod(fmt.Sprintf("pod-%d", i), role(fmt.Sprintf("role-%d", i*secrets/pods)))
				}
			})
		}
		began := time.Now()
		for i := range pods {
			<-tick.C
			next <- i
		}
		close(next)
		creating.Wait()
		last := time.Now()
		a.wait(secrets + 1)
		b.ReportMetric(time.Since(last).Seconds()*1000, "ms-after-last-pod")
		b.ReportMetric(last.Sub(began).Seconds()*1000, "ms-to-create-pods")
		b.ReportMetric(float64(w.assumed("*")-1), "sts-calls")
	}
}
