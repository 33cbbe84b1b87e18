package integration_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
)

func TestNamespaces_OnlyGivenOnesAreServed(t *testing.T) {
	a := newTestEnv(t)
	b, third := a.another(), a.another()
	stray := newStraySecret(t, third.namespace, "unused", 10*time.Minute)
	third.create(stray)
	third.pod("app", role("orders"))
	third.pod("wrong", mounting("aws-iam-reports", "/elsewhere"))
	third.awsIAMRole("resource", "orders")

	i := startInstance(a, serving(a, b))
	for _, w := range []*testEnv{a, b} {
		w.pod("app", role("orders"))
		w.awsIAMRole("resource", "reports")
		w.wait("aws-iam-orders")
		w.wait("resource")
		w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	}
	third.pod("late", role("late"))
	a.pod("late", role("late"))
	a.wait("aws-iam-late")

	i.checkOnlyIn(a, b)
	if n := assumed(a.sts, "*"); n != 5 {
		t.Errorf("%d calls of AssumeRole for 5 Secrets", n)
	}
	if now := versions(third); len(now) != 2 || now[client.ObjectKeyFromObject(stray)] != stray.ResourceVersion {
		t.Errorf("the third namespace has %v", now)
	}
	if events := third.events(); len(events) > 0 {
		t.Errorf("the third namespace has events %q", events)
	}

	// Another instance serves the third namespace.
	a.start(serving(third))
	third.wait("aws-iam-orders")
	third.wait("aws-iam-late")
	third.wait("resource")
	third.event("Warning MountPathMismatch wrong:")
	third.waitGone("aws-iam-unused")
}

func TestNamespaces_TwoInstancesServeTheirOwn(t *testing.T) {
	a := newTestEnv(t)
	a2, b := a.another(), a.another()
	first := startInstance(a, serving(a, a2), electing)
	second := startInstance(a, serving(b), electing)
	for _, w := range []*testEnv{a, a2, b} {
		w.pod("app", role("orders"))
		w.awsIAMRole("resource", "reports")
		w.wait("aws-iam-orders")
		w.wait("resource")
		w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	}
	if !first.leads() || !second.leads() || first.lease().Name == second.lease().Name {
		t.Errorf("the Leases are %v and %v", first.lease(), second.lease())
	}

	first.stop()
	if first.leads() {
		t.Error("the stopped instance did not release its Lease")
	}
	before := versions(a, a2)
	a2.pod("late", role("late"))
	b.pod("late", role("late"))
	b.wait("aws-iam-late")
	if now := versions(a, a2); !maps.Equal(now, before) {
		t.Errorf("no controller serves these namespaces, and they went from %v to %v", before, now)
	}

	replacement := startInstance(a, serving(a2, a), electing)
	a2.wait("aws-iam-late")
	if replacement.lease().Name != first.lease().Name || !replacement.leads() {
		t.Errorf("the replacement goes by Lease %s and not %s", replacement.lease().Name, first.lease().Name)
	}
	for name, version := range versions(a, a2) {
		if had, ok := before[name]; ok && had != version {
			t.Errorf("%s was written", name)
		}
	}
	first.checkOnlyIn(a, a2)
	second.checkOnlyIn(b)
	replacement.checkOnlyIn(a, a2)
	if n := assumed(a.sts, "*"); n != 8 {
		t.Errorf("%d calls of AssumeRole for 8 Secrets", n)
	}
}

// A new instance makes no call of STS and no write for Secrets with valid credentials.
func TestNamespaces_RestartWritesNothing(t *testing.T) {
	a := newTestEnv(t)
	b := a.another()
	for _, w := range []*testEnv{a, b} {
		w.grant("orders", everyServiceAccount(w.namespace))
	}
	options := func(o *app.Options) {
		serving(a, b)(o)
		o.AuthorizationModes = []string{authorization.ModeRBAC, authorization.ModeNamespace}
	}
	stop := a.start(options)
	for _, w := range []*testEnv{a, b} {
		w.pod("app", role("orders"))
		w.awsIAMRole("resource", "orders")
		w.wait("aws-iam-orders")
		w.wait("resource")
		w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	}
	stop()

	before := versions(a, b)
	i := startInstance(a, options)
	a.grant("late", everyServiceAccount(a.namespace))
	a.pod("late", role("late"))
	a.wait("aws-iam-late")
	a.event("Normal CreateCredentials late:")
	if n := assumed(a.sts, "*"); n != 5 {
		t.Errorf("%d calls of AssumeRole for 5 Secrets", n)
	}
	if writes := i.matching(`^(?:POST|PUT|PATCH|DELETE) .*/(?:secrets|awsiamroles)(?:/.*)?$`); len(writes) != 1 {
		t.Errorf("%d writes for one new Secret: %v", len(writes), writes)
	}
	after := versions(a, b)
	delete(after, types.NamespacedName{Namespace: a.namespace, Name: "aws-iam-late"})
	if !maps.Equal(before, after) {
		t.Errorf("went from %v to %v", before, after)
	}
}

// A changed right concerns only the instance that serves its namespace. An informer of RoleBindings
// sees no other namespaces; that of Namespaces sees all.
func TestNamespaces_ChangedRightsCauseNoReviewsElsewhere(t *testing.T) {
	const reviews = `^POST .*/subjectaccessreviews$`
	a := newTestEnv(t)
	a2, b := a.another(), a.another()
	b.grant("orders", serviceAccount(b.namespace, "default"))
	both := modes(authorization.ModeRBAC, authorization.ModeNamespace)
	first, second := startInstance(a, serving(a, a2), both), startInstance(a, serving(b), both)
	b.pod("app", role("orders"))
	b.wait("aws-iam-orders")
	for _, w := range []*testEnv{a, a2} {
		for _, name := range []string{"by-binding", "by-cluster", "by-annotation"} {
			w.pod(name, role(name))
			w.event("Warning RoleForbidden " + name + ":")
		}
	}

	asked := len(second.matching(reviews))
	for _, w := range []*testEnv{a, a2} {
		binding := w.grant("by-binding", serviceAccount(w.namespace, "default"))
		w.wait("aws-iam-by-binding")
		w.annotate(authorization.AllowedRolesAnnotation, `["by-annotation"]`)
		w.wait("aws-iam-by-annotation")

		w.must(w.Delete(t.Context(), binding))
		w.annotate(authorization.AllowedRolesAnnotation, `[]`)
	}
	for _, w := range []*testEnv{a, a2} {
		w.waitGone("aws-iam-by-binding")
		w.waitGone("aws-iam-by-annotation")
	}
	if n := len(second.matching(reviews)); n != asked {
		t.Errorf("%d reviews by the instance that does not serve the namespace", n-asked)
	}

	role, binding := newClusterRole("assume-"+a.namespace, assume("by-cluster"), serviceAccount(a.namespace, "default"), serviceAccount(a2.namespace, "default"))
	a.create(role, binding)
	a.wait("aws-iam-by-cluster")
	a2.wait("aws-iam-by-cluster")
	a.must(a.Delete(t.Context(), binding))
	a.waitGone("aws-iam-by-cluster")
	a2.waitGone("aws-iam-by-cluster")
	if !b.isGood(b.secret("aws-iam-orders")) || accessKey(b.secret("aws-iam-orders")) == "" {
		t.Error("rights in other namespaces took a Secret away")
	}
	first.checkOnlyIn(a, a2)
	second.checkOnlyIn(b)
}

// slowWatch is a connection over which what a watch of Secrets yields comes late, as long as it is
// held.
type slowWatch struct {
	next      http.RoundTripper
	namespace string
	held      sync.RWMutex
}

// RoundTrip implements http.RoundTripper.
func (s *slowWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := s.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/namespaces/"+s.namespace+"/secrets") && r.URL.Query().Has("watch") {
		answer.Body = slowBody{answer.Body, &s.held}
	}
	return answer, err
}

type slowBody struct {
	io.ReadCloser
	held *sync.RWMutex
}

// Read implements io.Reader.
func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.held.RLock()
	defer b.held.RUnlock()
	return n, err
}

// Each namespace has a watch of its own, and what is seen by one tells nothing about another. A
// Secret that has just been written is not written again because its namespace's watch is slow.
func TestNamespaces_SlowWatchCostsNoSecondSession(t *testing.T) {
	for _, test := range []struct {
		what   string
		before func(*testEnv)
	}{
		{"a new Secret", func(*testEnv) {}},
		{"a renewed Secret", func(a *testEnv) { a.create(newStraySecret(a.t, a.namespace, "orders", 40*time.Minute)) }},
	} {
		t.Run(test.what, func(t *testing.T) {
			a := newTestEnv(t)
			b := a.another()
			test.before(a)
			slow := &slowWatch{namespace: a.namespace}
			cfg := rest.CopyConfig(asController)
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { slow.next = next; return slow })
			a.startAs(cfg, serving(a, b), func(o *app.Options) { o.MaxConcurrentReconciles, o.UnusedGracePeriod = 1, time.Hour })
			a.pod("warm", role("warm"))
			a.wait("aws-iam-warm")

			slow.held.Lock()
			t.Cleanup(sync.OnceFunc(slow.held.Unlock))
			a.pod("first", role("orders"))
			s := a.wait("aws-iam-orders")
			b.pod("app", role("orders"))
			b.wait("aws-iam-orders")
			for _, name := range []string{"second", "third", "fourth"} {
				a.pod(name, role("orders"), mounting("aws-iam-"+name, "/other"))
				a.wait("aws-iam-" + name) // it comes after the other in the only worker's queue
			}
			a.checkUnchanged(s)
			if n := assumed(a.sts, "*"); n != 6 {
				t.Errorf("%d calls of AssumeRole for 6 Secrets", n)
			}

			a.must(a.Delete(t.Context(), s))
			a.pod("fifth", role("orders"))
			if again := a.wait("aws-iam-orders"); again.UID == s.UID {
				t.Error("a Secret that was deleted is still there")
			}
		})
	}
}
