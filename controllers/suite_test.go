package controllers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	account  = "123456789012"
	region   = "eu-central-1"
	patience = time.Minute
)

var (
	// admin is the cluster's administrator, controller the ServiceAccount with the rights of config/rbac.
	admin, asController *rest.Config
	// written is all that was logged in the run of the tests.
	written lockedBuffer
	logger  logr.Logger
)

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: run make test, or KUBEBUILDER_ASSETS=$(hack/localapi/build.sh) go test")
		return 1
	}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	logger = zapr.NewLogger(zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(&written)), zapcore.DebugLevel)))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	api := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	var err error
	if admin, err = api.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = api.Stop() }()
	if err := allowController(api); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// allowController gives a ServiceAccount the rights that the manifests give it, and no more.
func allowController(api *envtest.Environment) error {
	const name = "system:serviceaccount:kube-system:" + controllers.Name
	user, err := api.AddUser(envtest.User{Name: name, Groups: []string{"system:serviceaccounts", "system:authenticated"}}, nil)
	if err != nil {
		return err
	}
	asController = user.Config()
	manifest, err := os.ReadFile("../config/rbac/role.yaml")
	if err != nil {
		return err
	}
	c, err := client.New(admin, client.Options{})
	if err != nil {
		return err
	}
	for document := range strings.SplitSeq(string(manifest), "\n---\n") {
		role := rbacv1.ClusterRole{}
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			return err
		}
		for i := range role.Rules { // instances here serve namespaces of their own, by Leases of other names: config/ tries the names
			if slices.Contains(role.Rules[i].Resources, "leases") {
				role.Rules[i].ResourceNames = nil
			}
		}
		subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: role.Kind, Name: role.Name}
		meta := metav1.ObjectMeta{Name: role.Name, Namespace: role.Namespace}
		var objects []client.Object
		if role.Kind == "Role" {
			objects = []client.Object{&rbacv1.Role{ObjectMeta: meta, Rules: role.Rules}, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}}
		} else {
			objects = []client.Object{&rbacv1.ClusterRole{ObjectMeta: meta, Rules: role.Rules}, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}}
		}
		for _, o := range objects {
			if err := c.Create(context.Background(), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// world is what one test has to itself: a namespace, an STS, and the controllers that it starts.
type world struct {
	t         testing.TB
	sts       *ststest.Server
	keys      ststest.Keys
	namespace string
	metrics   *prometheus.Registry // of the controller that was started last
	clocks    *clocks
	client.WithWatch
}

// unlimited is the same without the client's own rate limit.
func unlimited(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	return cfg
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			tb.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(unlimited(admin), client.Options{Scheme: scheme})
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{t: tb, sts: ststest.New(), metrics: prometheus.NewRegistry(), clocks: &clocks{began: time.Now()}, WithWatch: c}
	w.sts.SetClock(w.now)
	tb.Cleanup(w.sts.Close)
	w.keys = w.sts.AddUser(account, "controller")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": w.sts.URL, "AWS_REGION": region, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": w.keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": w.keys.SecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		tb.Setenv(name, value)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.must(w.Create(tb.Context(), ns))
	w.namespace = ns.Name
	tb.Cleanup(w.checkNoSecretsLeaked)
	tb.Cleanup(func() {
		for line := range strings.Lines(written.String()) {
			if tb.Failed() && strings.Contains(line, w.namespace) {
				tb.Log(line)
			}
		}
	})
	return w
}

// now is the time by STS's clock.
func (w *world) now() time.Time { return w.clocks.sts() }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start runs a controller for the test's namespace until the returned function is called, or the test ends.
func (w *world) start(change ...func(*controllers.Options)) (stop func()) {
	w.t.Helper()
	return w.startAs(asController, change...)
}

// startAs is start with the rights of another.
func (w *world) startAs(user *rest.Config, change ...func(*controllers.Options)) (stop func()) {
	w.t.Helper()
	o := w.options()
	for _, f := range change {
		f(&o)
	}
	m, err := controllers.NewManager(w.t.Context(), user, o)
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

// beARole makes the controllers that are started from now on a role in a session, as an instance profile does.
func (w *world) beARole() {
	w.t.Helper()
	keys, err := w.sts.AddSession("arn:aws:iam::"+account+":role/controller", "instance", time.Hour)
	w.must(err)
	w.t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	w.t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	w.t.Setenv("AWS_SESSION_TOKEN", keys.SessionToken)
}

func (w *world) options() controllers.Options {
	w.t.Helper()
	w.metrics = prometheus.NewRegistry()
	collected := metrics.New(w.metrics)
	aws, err := credentials.New(w.t.Context(), credentials.Options{QPS: 300, Now: w.clocks.machine, Elapsed: w.clocks.elapsed, Observe: collected.STS})
	w.must(err)
	return controllers.Options{
		Settings: controllers.Settings{
			ClusterName: "test", MountPath: "/meta/aws-iam",
			SessionDuration: time.Hour, RefreshLimit: time.Second, UnusedGracePeriod: time.Second,
		},
		Namespaces:              []string{w.namespace},
		Credentials:             aws,
		AuthorizationModes:      []string{policy.ModeAlwaysAllow},
		Metrics:                 collected,
		MaxConcurrentReconciles: 8,
		MetricsAddress:          "0",
		HealthAddress:           "0",
		Resync:                  time.Second,
		Clock:                   clock.RealClock{},
		Log:                     logger,
	}
}

// without is the controller with all its rights but those to a resource.
func (w *world) without(resource string) *rest.Config { return w.withoutVerb("*", resource) }

// withoutVerb is the controller with all its rights but one to a resource, or all to it.
func (w *world) withoutVerb(verb, resource string) *rest.Config {
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
	meta := metav1.ObjectMeta{Name: name}
	w.must(w.Create(w.t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}))
	w.must(w.Create(w.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}))
	cfg := rest.CopyConfig(admin)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	return cfg
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if holds() {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s\nevents:\n%s", patience, what, strings.Join(w.events(), "\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// podOption changes a pod before it is created.
type podOption func(*corev1.Pod)

// pod creates a pod that mounts the Secrets of roles, one volume each.
func (w *world) pod(name string, options ...podOption) *corev1.Pod {
	w.t.Helper()
	p := w.newPod(name, options...)
	w.must(w.Create(w.t.Context(), p))
	return p
}

func (w *world) newPod(name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/app:1"}}},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

// mounting adds a volume of a Secret and mounts it at a path.
func mounting(secretName, path string) podOption {
	return func(p *corev1.Pod) {
		volume := fmt.Sprintf("volume-%d", len(p.Spec.Volumes))
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secretName},
		}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path})
	}
}

// role mounts the Secret of a role where it belongs.
func role(name string) podOption { return mounting("aws-iam-"+name, "/meta/aws-iam") }

// secret is a Secret as it is now, or nil.
func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	var s corev1.Secret
	err := w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return &s
}

// good tells whether a Secret has credentials that STS knows, of the role and for the session that it says.
func (w *world) good(name string) bool {
	w.t.Helper()
	return w.isGood(w.secret(name))
}

func (w *world) isGood(s *corev1.Secret) bool {
	if s == nil {
		return false
	}
	c, err := secret.Read(s)
	if err != nil {
		return false
	}
	session, known := w.sts.IssuedTo(c.AccessKeyID)
	return known && session.RoleARN == string(s.Data["role-arn"]) && session.SessionName == s.Annotations[secret.SessionNameAnnotation] &&
		session.Expires.Equal(c.Expires) && w.now().Before(c.Expires)
}

// wait returns a Secret as soon as it is good.
func (w *world) wait(name string) *corev1.Secret {
	w.t.Helper()
	var s *corev1.Secret
	w.eventually("Secret "+name+" with good credentials", func() bool {
		s = w.secret(name)
		return w.isGood(s)
	})
	return s
}

// waitOther returns a Secret as soon as it is good and has other credentials than before.
func (w *world) waitOther(before *corev1.Secret) *corev1.Secret {
	w.t.Helper()
	var now *corev1.Secret
	w.eventually("Secret "+before.Name+" with new credentials", func() bool {
		now = w.secret(before.Name) // once, as it may be gone at the next look
		return w.isGood(now) && accessKey(now) != accessKey(before)
	})
	return now
}

func accessKey(s *corev1.Secret) string { return s.Annotations[secret.AccessKeyIDAnnotation] }

func (w *world) waitGone(name string) {
	w.t.Helper()
	w.eventually("Secret "+name+" gone", func() bool { return w.secret(name) == nil })
}

// events are those of the namespace, as "type reason pod: note".
func (w *world) events() []string {
	var list eventsv1.EventList
	w.must(w.List(context.Background(), &list, client.InNamespace(w.namespace)))
	var lines []string
	for i := range list.Items {
		e := &list.Items[i]
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, e.Regarding.Name, e.Note))
	}
	return lines
}

// event waits for an event that starts with "type reason pod:" and contains each of the texts.
func (w *world) event(start string, texts ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("event %q with %q", start, texts), func() bool {
		for _, line := range w.events() {
			if strings.HasPrefix(line, start) && containsAll(line, texts) {
				return true
			}
		}
		return false
	})
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}

// assumed counts the calls of AssumeRole with a code, of all if the code is "*".
func (w *world) assumed(code string) int {
	n := 0
	for outcome, count := range w.sts.Counts() {
		if outcome.Operation == "AssumeRole" && (code == "*" || outcome.Code == code) {
			n += count
		}
	}
	return n
}

// metric is the value of a counter or gauge, or the count of a histogram, with labels given as name, value, name, value; 0 if there is none.
func (w *world) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	w.must(err)
	for _, family := range families {
		if family.GetName() != "kube_aws_iam_controller_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var have []string
			for _, pair := range m.GetLabel() {
				have = append(have, pair.GetName(), pair.GetValue())
			}
			if sameLabels(have, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

func sameLabels(a, b []string) bool {
	pairs := func(list []string) map[string]string {
		m := map[string]string{}
		for pair := range slices.Chunk(list, 2) {
			m[pair[0]] = pair[1]
		}
		return m
	}
	return maps.Equal(pairs(a), pairs(b))
}

// checkNoSecretsLeaked looks for everything that STS ever issued in all that was logged, in every event and in every metric, as it is and in
// base64.
func (w *world) checkNoSecretsLeaked() {
	families, err := w.metrics.Gather()
	w.must(err)
	public := written.String() + strings.Join(w.events(), "\n") + fmt.Sprint(families)
	for issued := range w.sts.IssuedSecrets() {
		if strings.Contains(public, issued) || strings.Contains(public, base64.StdEncoding.EncodeToString([]byte(issued))) {
			w.t.Errorf("a secret was told: look for the end of it, %q, in the logs and events", issued[len(issued)-4:])
		}
	}
}

// lockedBuffer is a buffer for many writers.
type lockedBuffer struct {
	lock   sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buffer.String()
}

// delete deletes a pod.
func (w *world) delete(name string) {
	w.t.Helper()
	w.must(w.Delete(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}, client.GracePeriodSeconds(0)))
}

// watchForDeletions counts the Secrets of the namespace that are deleted from now on.
func (w *world) watchForDeletions() (count func() int) {
	w.t.Helper()
	events, err := w.Watch(w.t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))
	w.must(err)
	w.t.Cleanup(events.Stop)
	var deleted atomic.Int64
	go func() {
		for e := range events.ResultChan() {
			if e.Type == watch.Deleted {
				deleted.Add(1)
			}
		}
	}()
	return func() int { return int(deleted.Load()) }
}
