package controllers_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/policy"
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
	const pods, wanted, creators = 1000, 500, 20
	for b.Loop() {
		w := newWorld(b)
		a := w.fast()
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
		b.ReportMetric(float64(w.assumed("*")-1), "sts-calls")
	}
}

// counter counts the requests to the API server by what they do.
type counter struct {
	next  http.RoundTripper
	lock  sync.Mutex
	count map[string]int
}

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	c.lock.Lock()
	c.count[r.Method+" "+parts[len(parts)-1]]++
	c.lock.Unlock()
	return c.next.RoundTrip(r)
}

// since is what was counted since the last call.
func (c *counter) since() map[string]int {
	c.lock.Lock()
	defer c.lock.Unlock()
	was := c.count
	c.count = map[string]int{}
	return was
}

// BenchmarkAuthorization is what authorization by RBAC costs in SubjectAccessReviews, with as many Secrets in one namespace as -secrets says: at a restart,
// when a RoleBinding changes, when a ClusterRoleBinding changes, and when nothing does.
func BenchmarkAuthorization(b *testing.B) {
	const reviews = "POST subjectaccessreviews"
	for b.Loop() {
		w := newWorld(b)
		all := w.serviceAccount("default")
		w.grantAll(all)
		c := &counter{count: map[string]int{}}
		cfg := rest.CopyConfig(asController)
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { c.next = next; return c })
		run := func() (stop func()) {
			return w.startAs(cfg, modes(policy.ModeRBAC), func(o *controllers.Options) { o.MaxConcurrentReconciles, o.RefreshLimit = 64, 30*time.Minute })
		}
		stop := run()
		for i := range *secrets {
			w.pod(fmt.Sprintf("pod-%d", i), role(fmt.Sprintf("role-%d", i)))
		}
		have := func() bool {
			var list corev1.SecretList
			w.must(w.List(context.Background(), &list, client.InNamespace(w.namespace)))
			return len(list.Items) >= *secrets
		}
		w.eventually("all Secrets", have)
		b.ReportMetric(float64(c.since()[reviews]), "reviews-issue")

		stop()
		c.since()
		run()
		quiet := func(what string) {
			for total, last := 0, -1; total != last; {
				last = total
				time.Sleep(12 * time.Second) // longer than a change takes to settle
				c.lock.Lock()
				total = c.count[reviews]
				c.lock.Unlock()
			}
			b.ReportMetric(float64(c.since()[reviews]), "reviews-"+what)
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

// grantAll allows a subject every role in the namespace.
func (w *world) grantAll(subject rbacv1.Subject) {
	w.t.Helper()
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "assume-all"}
	w.must(w.Create(w.t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}}}}))
	w.must(w.Create(w.t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name}}))
}
