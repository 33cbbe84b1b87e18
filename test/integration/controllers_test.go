package integration_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

// start runs a controller for the test's namespace until the returned function is called, or the
// test ends.
func (w *testEnv) start(change ...func(*app.Options)) (stop func()) {
	w.t.Helper()
	return w.startAs(asController, change...)
}

// startAs is start with another user of the API server.
func (w *testEnv) startAs(user *rest.Config, change ...func(*app.Options)) (stop func()) {
	w.t.Helper()
	o := w.options()
	for _, f := range change {
		f(&o)
	}
	m, err := app.NewManager(w.t.Context(), user, &o)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// options returns the options of a controller for the test's namespace, with a registry of metrics
// of its own.
func (w *testEnv) options() app.Options {
	w.t.Helper()
	w.metrics = prometheus.NewRegistry()
	collected := metrics.New(w.metrics)
	aws, err := credentials.New(w.t.Context(), credentials.Options{QPS: 300, Now: w.clocks.machine, Elapsed: w.clocks.elapsed, Observe: collected.STS})
	w.must(err)
	return app.Options{
		Settings: controllers.Settings{
			Sessions: credentials.SessionTemplate{ClusterName: "test", Duration: time.Hour}, RefreshLimit: time.Second, UnusedGracePeriod: time.Second,
		},
		MountPath:               "/meta/aws-iam",
		Namespaces:              []string{w.namespace},
		Credentials:             aws,
		AuthorizationModes:      []string{authorization.ModeAlwaysAllow},
		Metrics:                 collected,
		MaxConcurrentReconciles: 8,
		MetricsAddress:          "0",
		HealthAddress:           "0",
		Resync:                  time.Second,
		Clock:                   clock.RealClock{},
		Log:                     logger,
	}
}

func modes(modes ...string) func(*app.Options) {
	return func(o *app.Options) { o.AuthorizationModes = modes }
}

// serving sets the namespaces to serve. Sessions are long enough not to be renewed in a test.
func serving(namespaces ...*testEnv) func(*app.Options) {
	return func(o *app.Options) {
		o.Namespaces, o.RefreshLimit = nil, 30*time.Minute
		for _, w := range namespaces {
			o.Namespaces = append(o.Namespaces, w.namespace)
		}
	}
}

func electing(o *app.Options) { o.LeaderElect = true }

// useInstanceRole gives the controllers that are started from now on a role in a session, as an
// instance profile does.
func useInstanceRole(tb testing.TB, sts *ststest.Server) {
	tb.Helper()
	keys, err := sts.AddSession(ownRole, "instance", time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	tb.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	tb.Setenv("AWS_SESSION_TOKEN", keys.SessionToken)
}

// createUserWithout returns a user with all rights of the controller but those to a verb, or to any
// verb if that is "*", of a resource.
func createUserWithout(w *testEnv, verb, resource string) *rest.Config {
	w.t.Helper()
	name := "without-" + strings.ReplaceAll(verb, "*", "any") + "-" + resource
	var role rbacv1.ClusterRole
	w.must(w.Get(w.t.Context(), client.ObjectKey{Name: controllers.Name}, &role))
	rules := role.Rules
	for i := range rules {
		if slices.Contains(rules[i].Resources, resource) {
			rules[i].Verbs = slices.DeleteFunc(rules[i].Verbs, func(v string) bool { return verb == "*" || v == verb })
		}
	}
	rules = slices.DeleteFunc(rules, func(r rbacv1.PolicyRule) bool { return len(r.Verbs) == 0 })
	less, binding := newClusterRole(name, rules, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name})
	w.create(less, binding)
	cfg := rest.CopyConfig(admin)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	return cfg
}

// instance is a controller whose requests to the API server are recorded.
type instance struct {
	w        *testEnv
	stop     func()
	next     http.RoundTripper
	lock     sync.Mutex
	requests []string // method and path
}

// startInstance is testEnv.start with requests recorded.
func startInstance(w *testEnv, change ...func(*app.Options)) *instance {
	w.t.Helper()
	i := &instance{w: w}
	cfg := rest.CopyConfig(asController)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { i.next = next; return i })
	i.stop = w.startAs(cfg, change...)
	return i
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

// matching returns for each request so far that matches an expression what its group matched.
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

// lease returns the Lease that the instance uses.
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

// checkOnlyIn checks that nothing was asked about any other namespace than these, except for the
// Lease.
func (i *instance) checkOnlyIn(namespaces ...*testEnv) {
	i.w.t.Helper()
	allowed := map[string]bool{}
	for _, w := range namespaces {
		allowed[w.namespace] = true
	}
	for _, request := range i.matching(`^(.*/namespaces/.*)$`) {
		namespace, _, _ := strings.Cut(strings.SplitN(request, "/namespaces/", 2)[1], "/")
		if !allowed[namespace] && (namespace != "kube-system" || !regexp.MustCompile(`/(leases|events)(/|$)`).MatchString(request)) {
			i.w.t.Errorf("it asked for %s", request)
		}
	}
}

// freeAddress returns an address on which no process listens.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	address, err := env.FreeAddress()
	if err != nil {
		tb.Fatal(err)
	}
	return address
}

// get returns the status and the body of an answer, or 0 and the error.
func get(ctx context.Context, url, token string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the certificate is self-signed
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// probe returns the status of a path at an address, or 0 without an answer.
func probe(ctx context.Context, address, path string) int {
	status, _ := get(ctx, "http://"+address+path, "")
	return status
}

// ready reports whether a controller with an address of its probes is ready.
func ready(ctx context.Context, address string) bool {
	return probe(ctx, address, "/readyz") == http.StatusOK
}

// clocks are those of the controller's machine and of STS. All are durations.
type clocks struct {
	server              *ststest.Server
	began               time.Time
	passed, ahead, step atomic.Int64
}

// newClocks gives STS a clock.
func newClocks(server *ststest.Server) *clocks {
	c := &clocks{server: server, began: time.Now()}
	server.SetClock(c.sts)
	return c
}

// sts returns the time by STS's clock.
func (c *clocks) sts() time.Time {
	return time.Now().Add(time.Duration(c.passed.Load() - c.ahead.Load()))
}

// machine returns the time by the clock of the controller's machine.
func (c *clocks) machine() time.Time {
	return time.Now().Add(time.Duration(c.passed.Load() + c.step.Load()))
}

// elapsed returns the time by the machine's monotonic clock.
func (c *clocks) elapsed() time.Duration { return time.Since(c.began) + time.Duration(c.passed.Load()) }

// putMachineAhead sets STS's clock, so that the controller's machine is ahead of it.
func (c *clocks) putMachineAhead(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// setMachine sets the machine's clock, and no other.
func (c *clocks) setMachine(ahead time.Duration) { c.step.Store(int64(ahead)) }

// pass advances all clocks but not timers: the controller notices within a second what is urgent by
// then. Signatures still have the real time, and STS accepts them.
func (c *clocks) pass(d time.Duration) {
	c.server.SetMaxSkew(0)
	c.passed.Add(int64(d))
}
