package integration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	account = env.Account
	region  = env.Region
)

var (
	// admin is the cluster's administrator, controller the ServiceAccount with the rights of
	// config/rbac.
	admin, asController *rest.Config
	// written is all that was logged in the run of the tests.
	written lockedBuffer
	logger  logr.Logger
)

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	logger = zapr.NewLogger(zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(&written)), zapcore.DebugLevel)))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // newTestEnv skips the tests that need an API server
	}
	api := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
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
	manifest, err := os.ReadFile("../../config/rbac/role.yaml")
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
		subject := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
		var objects []client.Object
		if role.Kind == "Role" {
			role, binding := newRole(role.Namespace, role.Name, role.Rules, subject)
			objects = []client.Object{role, binding}
		} else {
			role, binding := newClusterRole(role.Name, role.Rules, subject)
			objects = []client.Object{role, binding}
		}
		for _, o := range objects {
			if err := c.Create(context.Background(), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// testEnv is what one test has to itself: a namespace, an STS, and the controllers that it starts.
type testEnv struct {
	t         testing.TB
	sts       *ststest.Server
	keys      ststest.Keys
	namespace string
	metrics   *prometheus.Registry // of the controller that was started last
	clocks    *clocks
	client.WithWatch
}

func newTestEnv(tb testing.TB) *testEnv {
	tb.Helper()
	env.RequireAPIServer(tb)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			tb.Fatal(err)
		}
	}
	unlimited := rest.CopyConfig(admin)
	unlimited.QPS = -1
	c, err := client.NewWithWatch(unlimited, client.Options{Scheme: scheme})
	if err != nil {
		tb.Fatal(err)
	}
	w := &testEnv{t: tb, sts: ststest.New(), metrics: prometheus.NewRegistry(), WithWatch: c}
	w.clocks = newClocks(w.sts)
	tb.Cleanup(w.sts.Close)
	w.keys = w.sts.AddUser(account, "controller")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": w.sts.URL, "AWS_REGION": region, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": w.keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": w.keys.SecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		tb.Setenv(name, value)
	}
	w = w.another()
	tb.Cleanup(func() {
		for line := range strings.Lines(written.String()) {
			if tb.Failed() && strings.Contains(line, w.namespace) {
				tb.Log(line)
			}
		}
	})
	return w
}

// another returns the same environment with a new namespace.
func (w *testEnv) another() *testEnv {
	w.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.must(w.Create(w.t.Context(), ns))
	other := *w
	other.namespace = ns.Name
	w.t.Cleanup(other.checkNoSecretsLeaked)
	return &other
}

func (w *testEnv) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// checkNoSecretsLeaked looks for everything that STS ever issued in all that was logged, in every
// event and in every metric, as it is and in base64.
func (w *testEnv) checkNoSecretsLeaked() {
	families, err := w.metrics.Gather()
	w.must(err)
	public := written.String() + strings.Join(w.events(), "\n") + fmt.Sprint(families)
	for issued := range w.sts.IssuedSecrets() {
		if strings.Contains(public, issued) || strings.Contains(public, base64.StdEncoding.EncodeToString([]byte(issued))) {
			w.t.Errorf("a secret leaked: look for the end of it, %q, in the logs, events and metrics", issued[len(issued)-4:])
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
