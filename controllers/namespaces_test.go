package controllers_test

import (
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
	iamrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// another is the same world in another namespace.
func (w *world) another() *world {
	w.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.must(w.Create(w.t.Context(), ns))
	other := *w
	other.namespace = ns.Name
	w.t.Cleanup(other.checkNoSecretsLeaked)
	return &other
}

// serving sets the namespaces to serve. Sessions are long enough not to be renewed in a test.
func serving(namespaces ...*world) func(*controllers.Options) {
	return func(o *controllers.Options) {
		o.Namespaces, o.RefreshLimit = nil, 30*time.Minute
		for _, w := range namespaces {
			o.Namespaces = append(o.Namespaces, w.namespace)
		}
	}
}

func electing(o *controllers.Options) { o.LeaderElect = true }

// instance is a controller of which it is known what it asks of the API server.
type instance struct {
	w        *world
	stop     func()
	next     http.RoundTripper
	lock     sync.Mutex
	requests []string // method and path
}

// RoundTrip implements http.RoundTripper.
func (i *instance) RoundTrip(r *http.Request) (*http.Response, error) {
	i.lock.Lock()
	request := r.Method + " " + r.URL.Path
	if r.URL.Query().Has("dryRun") {
		request += "?dryRun"
	}
	i.requests = append(i.requests, request)
	i.lock.Unlock()
	return i.next.RoundTrip(r)
}

// instance starts a controller whose requests are recorded.
func (w *world) instance(change ...func(*controllers.Options)) *instance {
	w.t.Helper()
	i := &instance{w: w}
	cfg := rest.CopyConfig(asController)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { i.next = next; return i })
	i.stop = w.startAs(cfg, change...)
	return i
}

// matching are the requests so far that match an expression, with what its group matched.
func (i *instance) matching(expression string) (groups []string) {
	compiled := regexp.MustCompile(expression)
	i.lock.Lock()
	defer i.lock.Unlock()
	for _, request := range i.requests {
		if m := compiled.FindStringSubmatch(request); m != nil {
			groups = append(groups, m[len(m)-1])
		}
	}
	return groups
}

// lease is the Lease that the instance goes by.
func (i *instance) lease() *coordinationv1.Lease {
	i.w.t.Helper()
	names := slices.Compact(slices.Sorted(slices.Values(i.matching(`^(?:GET|PUT) .*/namespaces/kube-system/leases/(.*)$`))))
	if len(names) != 1 {
		i.w.t.Fatalf("Leases %q and not one", names)
	}
	var l coordinationv1.Lease
	i.w.must(i.w.Get(i.w.t.Context(), client.ObjectKey{Namespace: "kube-system", Name: names[0]}, &l))
	return &l
}

func (i *instance) leads() bool {
	return len(i.matching(`^(?:GET|PUT) .*/leases/.*$`)) > 0 && *i.lease().Spec.HolderIdentity != ""
}

// onlyIn requires that nothing was asked about any other namespace than these, but for the Lease.
func (i *instance) onlyIn(worlds ...*world) {
	i.w.t.Helper()
	allowed := map[string]bool{}
	for _, w := range worlds {
		allowed[w.namespace] = true
	}
	for _, request := range i.matching(`^(.*/namespaces/.*)$`) {
		namespace, _, _ := strings.Cut(strings.SplitN(request, "/namespaces/", 2)[1], "/")
		if !allowed[namespace] && (namespace != "kube-system" || !regexp.MustCompile(`/(leases|events)(/|$)`).MatchString(request)) {
			i.w.t.Errorf("it asked for %s", request)
		}
	}
}

// versions are those of all Secrets and AWSIAMRoles: who writes one changes it.
func versions(worlds ...*world) map[types.NamespacedName]string {
	all := map[types.NamespacedName]string{}
	for _, w := range worlds {
		var list corev1.SecretList
		w.must(w.List(w.t.Context(), &list, client.InNamespace(w.namespace)))
		for i := range list.Items {
			all[client.ObjectKeyFromObject(&list.Items[i])] = list.Items[i].ResourceVersion
		}
		var roles v1.AWSIAMRoleList
		w.must(w.List(w.t.Context(), &roles, client.InNamespace(w.namespace)))
		for i := range roles.Items {
			key := client.ObjectKeyFromObject(&roles.Items[i])
			key.Name += " (AWSIAMRole)"
			all[key] = roles.Items[i].ResourceVersion
		}
	}
	return all
}

// stray creates a Secret of the controller's own with credentials of that age, which live an hour.
func (w *world) stray(name string, age time.Duration) *corev1.Secret {
	w.t.Helper()
	arn, err := iamrole.ParseARN("arn:aws:iam::" + account + ":role/" + name)
	w.must(err)
	issued := time.Now().Add(-age)
	target := secret.Target{
		Name: types.NamespacedName{Namespace: w.namespace, Name: "aws-iam-" + name}, Files: secret.Files{MountPath: "/meta/aws-iam", Region: region},
		Session: credentials.Session{Role: arn, Name: "test." + w.namespace + ".aws-iam-" + name, Duration: time.Hour},
	}
	s := secret.Render(target, credentials.Credentials{
		AccessKeyID: "ASIASTRAY", SecretAccessKey: credentials.Redact("stray-key"), SessionToken: credentials.Redact("stray-token"), Issued: issued, Expires: issued.Add(time.Hour),
	})
	w.must(w.Create(w.t.Context(), s))
	return s
}

func TestSeveralNamespacesAndNoOther(t *testing.T) {
	a := newWorld(t)
	b, third := a.another(), a.another()
	stray := third.stray("unused", 10*time.Minute)
	third.pod("app", role("orders"))
	third.pod("wrong", mounting("aws-iam-reports", "/elsewhere"))
	third.awsIAMRole("resource", "orders")

	i := a.instance(serving(a, b))
	for _, w := range []*world{a, b} {
		w.pod("app", role("orders"))
		w.awsIAMRole("resource", "reports")
		w.wait("aws-iam-orders")
		w.wait("resource")
		w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	}
	third.pod("late", role("late"))
	a.pod("late", role("late"))
	a.wait("aws-iam-late")

	i.onlyIn(a, b)
	if n := a.assumed("*"); n != 5 {
		t.Errorf("%d calls of AssumeRole for 5 Secrets", n)
	}
	if now := versions(third); len(now) != 2 || now[client.ObjectKeyFromObject(stray)] != stray.ResourceVersion {
		t.Errorf("the third namespace has %v", now)
	}
	if events := third.events(); len(events) > 0 {
		t.Errorf("the third namespace has events %q", events)
	}

	// Who serves the third one finds all that was left alone.
	a.start(serving(third))
	third.wait("aws-iam-orders")
	third.wait("aws-iam-late")
	third.wait("resource")
	third.event("Warning MountPathMismatch wrong:")
	third.waitGone("aws-iam-unused")
}

func TestTwoInstancesSideBySide(t *testing.T) {
	a := newWorld(t)
	a2, b := a.another(), a.another()
	first := a.instance(serving(a, a2), electing)
	second := a.instance(serving(b), electing)
	for _, w := range []*world{a, a2, b} {
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
		t.Error("who was stopped did not release its Lease")
	}
	before := versions(a, a2)
	a2.pod("late", role("late"))
	b.pod("late", role("late"))
	b.wait("aws-iam-late")
	if now := versions(a, a2); !maps.Equal(now, before) {
		t.Errorf("nobody serves these namespaces, and they went from %v to %v", before, now)
	}

	replacement := a.instance(serving(a2, a), electing)
	a2.wait("aws-iam-late")
	if replacement.lease().Name != first.lease().Name || !replacement.leads() {
		t.Errorf("the replacement goes by Lease %s and not %s", replacement.lease().Name, first.lease().Name)
	}
	for name, version := range versions(a, a2) {
		if had, ok := before[name]; ok && had != version {
			t.Errorf("%s was written", name)
		}
	}
	first.onlyIn(a, a2)
	second.onlyIn(b)
	replacement.onlyIn(a, a2)
	if n := a.assumed("*"); n != 8 {
		t.Errorf("%d calls of AssumeRole for 8 Secrets", n)
	}
}

// Good Secrets cost a new instance neither a call of STS nor a write, whatever asks for them.
func TestARestartWithSeveralNamespacesDoesNothing(t *testing.T) {
	a := newWorld(t)
	b := a.another()
	for _, w := range []*world{a, b} {
		w.grant("orders", w.everyServiceAccount())
	}
	options := func(o *controllers.Options) {
		serving(a, b)(o)
		o.AuthorizationModes = []string{policy.ModeRBAC, policy.ModeNamespace}
	}
	stop := a.start(options)
	for _, w := range []*world{a, b} {
		w.pod("app", role("orders"))
		w.awsIAMRole("resource", "orders")
		w.wait("aws-iam-orders")
		w.wait("resource")
		w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	}
	stop()

	before := versions(a, b)
	i := a.instance(options)
	a.grant("late", a.everyServiceAccount())
	a.pod("late", role("late"))
	a.wait("aws-iam-late")
	a.event("Normal CreateCredentials late:")
	if n := a.assumed("*"); n != 5 {
		t.Errorf("%d calls of AssumeRole for 5 Secrets", n)
	}
	if writes := i.matching(`^(?:POST|PUT|PATCH|DELETE) .*/(?:secrets|awsiamroles)(?:/.*)?$`); len(writes) != 1 {
		t.Errorf("%d writes for one new Secret: %v, status %+v", len(writes), writes, a.status("resource"))
	}
	after := versions(a, b)
	delete(after, types.NamespacedName{Namespace: a.namespace, Name: "aws-iam-late"})
	if !maps.Equal(before, after) {
		t.Errorf("went from %v to %v", before, after)
	}
}

// Rights that change in a namespace are the business of who serves it: of RoleBindings the informer sees no others, and of Namespaces, which lie in
// none, it sees all.
func TestRightsOfSeveralNamespaces(t *testing.T) {
	const reviews = `^POST .*/subjectaccessreviews$`
	a := newWorld(t)
	a2, b := a.another(), a.another()
	b.grant("orders", b.serviceAccount("default"))
	both := modes(policy.ModeRBAC, policy.ModeNamespace)
	first, second := a.instance(serving(a, a2), both), a.instance(serving(b), both)
	b.pod("app", role("orders"))
	b.wait("aws-iam-orders")
	for _, w := range []*world{a, a2} {
		for _, name := range []string{"by-binding", "by-cluster", "by-annotation"} {
			w.pod(name, role(name))
			w.event("Warning RoleForbidden " + name + ":")
		}
	}

	asked := len(second.matching(reviews))
	for _, w := range []*world{a, a2} {
		binding := w.grant("by-binding", w.serviceAccount("default"))
		w.wait("aws-iam-by-binding")
		w.annotate(policy.AllowedRolesAnnotation, `["by-annotation"]`)
		w.wait("aws-iam-by-annotation")

		w.must(w.Delete(t.Context(), binding))
		w.annotate(policy.AllowedRolesAnnotation, `[]`)
	}
	for _, w := range []*world{a, a2} {
		w.waitGone("aws-iam-by-binding")
		w.waitGone("aws-iam-by-annotation")
	}
	if n := len(second.matching(reviews)); n != asked {
		t.Errorf("%d reviews by who does not serve the namespace", n-asked)
	}

	meta := metav1.ObjectMeta{Name: "assume-" + a.namespace}
	subjects := []rbacv1.Subject{a.serviceAccount("default"), a2.serviceAccount("default")}
	w := a
	w.must(w.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}, ResourceNames: []string{"by-cluster"}}}}))
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}}
	w.must(w.Create(t.Context(), binding))
	a.wait("aws-iam-by-cluster")
	a2.wait("aws-iam-by-cluster")
	w.must(w.Delete(t.Context(), binding))
	a.waitGone("aws-iam-by-cluster")
	a2.waitGone("aws-iam-by-cluster")
	if !b.good("aws-iam-orders") || accessKey(b.secret("aws-iam-orders")) == "" {
		t.Error("rights in other namespaces took a Secret away")
	}
	first.onlyIn(a, a2)
	second.onlyIn(b)
}

// slowWatch is a connection over which what a watch of Secrets yields comes late, as long as it is held.
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

// Each namespace has a watch of its own, and what is seen by one tells nothing about another. A Secret that has just been written is not written again
// because its namespace's watch is slow.
func TestASlowWatchCostsNoSecondSession(t *testing.T) {
	for _, test := range []struct {
		what   string
		before func(*world)
	}{
		{"a new Secret", func(*world) {}},
		{"a renewed Secret", func(a *world) { a.stray("orders", 40*time.Minute) }},
	} {
		t.Run(test.what, func(t *testing.T) {
			a := newWorld(t)
			b := a.another()
			test.before(a)
			slow := &slowWatch{namespace: a.namespace}
			cfg := rest.CopyConfig(asController)
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { slow.next = next; return slow })
			a.startAs(cfg, serving(a, b), func(o *controllers.Options) { o.MaxConcurrentReconciles, o.UnusedGracePeriod = 1, time.Hour })
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
			if now := a.secret("aws-iam-orders"); now.ResourceVersion != s.ResourceVersion {
				t.Error("the Secret was written again")
			}
			if n := a.assumed("*"); n != 6 {
				t.Errorf("%d calls of AssumeRole for 6 Secrets", n)
			}

			w := a
			w.must(w.Delete(t.Context(), s))
			a.pod("fifth", role("orders"))
			if again := a.wait("aws-iam-orders"); again.UID == s.UID {
				t.Error("a Secret that was deleted is still there")
			}
		})
	}
}
