package integration_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
)

const stsLatency = 30 * time.Millisecond

// arrivals notes when each Secret of the namespace was first seen by a watch.
type arrivals struct {
	lock sync.Mutex
	at   map[string]time.Time
	more chan struct{}
}

// startAndWatch starts a controller with the default flags, and watches with a client without a
// rate limit for Secrets.
func startAndWatch(w *testEnv) *arrivals {
	w.t.Helper()
	w.sts.SetLatency(stsLatency)
	w.start(func(o *app.Options) { o.MaxConcurrentReconciles, o.RefreshLimit = 64, 30*time.Minute })
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

// BenchmarkOnePod is the time from a pod's creation until its Secret is seen, with an idle
// controller and an STS that takes 30 ms.
func BenchmarkOnePod(b *testing.B) {
	w := newTestEnv(b)
	a := startAndWatch(w)
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

// BenchmarkBurst is the time from the last of 1,000 pods, created over one second, until the last
// of their 500 Secrets is seen.
func BenchmarkBurst(b *testing.B) {
	const pods, wanted, creators = 1000, 500, 20
	for b.Loop() {
		w := newTestEnv(b)
		a := startAndWatch(w)
		tick := time.NewTicker(time.Second / pods)
		next := make(chan int)
		var creating sync.WaitGroup
		for range creators {
			creating.Go(func() {
				for i := range next {
					w.pod(fmt.Sprintf("pod-%d", i), role(fmt.Sprintf("role-%d", i*wanted/pods)))
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
		a.wait(wanted + 1)
		b.ReportMetric(time.Since(last).Seconds()*1000, "ms-after-last-pod")
		b.ReportMetric(last.Sub(began).Seconds()*1000, "ms-to-create-pods")
		b.ReportMetric(float64(assumed(w.sts, "*")-1), "sts-calls")
	}
}

// BenchmarkAuthorization is what authorization by RBAC costs in SubjectAccessReviews, with as many
// Secrets in one namespace as -secrets says: at a restart, when a RoleBinding changes, when a
// ClusterRoleBinding changes, and when nothing does.
func BenchmarkAuthorization(b *testing.B) {
	const reviews = `^POST .*/subjectaccessreviews$`
	for b.Loop() {
		w := newTestEnv(b)
		all := serviceAccount(w.namespace, "default")
		everyRole, binding := newRole(w.namespace, "assume-all", assume(), all)
		w.create(everyRole, binding)
		options := func(o *app.Options) {
			o.AuthorizationModes = []string{authorization.ModeRBAC}
			o.MaxConcurrentReconciles, o.RefreshLimit = 64, 30*time.Minute
		}
		c := startInstance(w, options)
		for i := range *secrets {
			w.pod(fmt.Sprintf("pod-%d", i), role(fmt.Sprintf("role-%d", i)))
		}
		have := func() bool {
			var list corev1.SecretList
			w.must(w.List(context.Background(), &list, client.InNamespace(w.namespace)))
			return len(list.Items) >= *secrets
		}
		w.eventually("all Secrets", have)
		b.ReportMetric(float64(len(c.matching(reviews))), "reviews-issue")

		c.stop()
		c = startInstance(w, options)
		reported := 0
		quiet := func(what string) {
			total := reported
			for last := -1; total != last; {
				last = total
				time.Sleep(12 * time.Second) // longer than a change takes to settle
				total = len(c.matching(reviews))
			}
			b.ReportMetric(float64(total-reported), "reviews-"+what)
			reported = total
		}
		quiet("restart")
		quiet("idle")
		w.grant("role-0", all)
		quiet("rolebinding")
		w.must(w.Create(context.Background(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}))
		quiet("clusterrolebinding")
	}
}

var secrets = flag.Int("secrets", 500, "how many Secrets BenchmarkAuthorization is about")
