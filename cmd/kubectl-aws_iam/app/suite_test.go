package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/env"
)

// suite is the API server, the STS double and the controller that all tests share.
var suite struct {
	*env.Sandbox

	// admin is the kubeconfig of an administrator.
	admin string
	// path is a PATH with kubectl and the plugin.
	path       string
	controller *env.Controller
	// seen is all that the plugin printed, and read from the API server.
	seen buffer
}

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) (code int) {
	if err := os.Chdir("../../.."); err != nil { // where test/env finds the manifests
		return fail(err)
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // newNamespace skips the tests that need an API server
	}
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer func() {
		if suite.controller != nil {
			_ = suite.controller.Stop()
		}
		if suite.Sandbox != nil {
			_ = suite.Stop()
		}
	}()
	if err := start(dir); err != nil {
		return fail(err)
	}
	code = m.Run()
	for issued := range suite.STS.IssuedSecrets() {
		if containsAny(suite.seen.String(), []byte(issued)) {
			return fail(fmt.Errorf("a secret was printed or read: look for its end, %q", issued[len(issued)-4:]))
		}
	}
	return code
}

// containsAny reports whether a text contains a value as it is, or in base64: of the value itself,
// or of a longer text that has it anywhere.
func containsAny(text string, value []byte) bool {
	if strings.Contains(text, string(value)) {
		return true
	}
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), value...))
		// The first and the last characters depend on what is before and after the value, too.
		if strings.Contains(text, encoded[(before*4+2)/3:len(encoded)-1]) {
			return true
		}
	}
	return false
}

func TestContainsAny(t *testing.T) {
	value := []byte("s3cr3t/Key+value")
	for before := range 5 {
		for after := range 5 {
			text := strings.Repeat("x", before) + string(value) + strings.Repeat("y", after)
			if !containsAny("data: "+base64.StdEncoding.EncodeToString([]byte(text)), value) {
				t.Errorf("is not found with %d bytes before and %d after", before, after)
			}
		}
	}
	if containsAny(base64.StdEncoding.EncodeToString([]byte("xxs3cr3t/Kez+value")), value) {
		t.Error("is found where it is not")
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// start starts what is shared. The controller runs outside of the cluster, with the rights of
// config/rbac.
func start(dir string) (err error) {
	if err := env.Isolate(dir); err != nil {
		return err
	}
	if suite.Sandbox, err = env.Start(dir, nil); err != nil {
		return err
	}
	if suite.admin, err = suite.Kubeconfig("admin", "system:masters"); err != nil {
		return err
	}
	if err := suite.Create(context.Background(), "config/rbac"); err != nil {
		return err
	}
	if err := deploy(context.Background()); err != nil {
		return err
	}
	kubeconfig, err := suite.Kubeconfig("system:serviceaccount:kube-system:kube-aws-iam-controller", "system:serviceaccounts", "system:authenticated")
	if err != nil {
		return err
	}
	controller := filepath.Join(dir, "controller")
	if err := build(".", controller, "./cmd/kube-aws-iam-controller"); err != nil {
		return err
	}
	const plugin = "cmd/kubectl-aws_iam"
	if err := build(plugin, filepath.Join(dir, "kubectl-aws_iam"), "."); err != nil {
		return err
	}
	completion, err := filepath.Abs(plugin)
	if err != nil {
		return err
	}
	suite.path = strings.Join([]string{dir, completion, os.Getenv("KUBEBUILDER_ASSETS"), os.Getenv("PATH")}, string(filepath.ListSeparator))
	suite.controller, err = suite.StartController(controller, "controller", kubeconfig, "--leader-elect", "--cluster-name=test", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	return err
}

func build(module, binary, pkg string) error {
	if out, err := exec.Command("go", "-C", module, "build", "-o", binary, pkg).CombinedOutput(); err != nil { //nolint:gosec,noctx // constants; the test's timeout ends it
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// deploy creates the rest of config/default, as a cluster has it while the controller runs.
func deploy(ctx context.Context) error {
	for _, folder := range []string{"config/admission/secrets", "config/admission/serviceaccounts", "config/admission/pods"} {
		if err := suite.Create(ctx, folder); err != nil {
			return err
		}
	}
	environment := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-aws-iam-controller-aws"}, Data: map[string]string{
		"AWS_REGION": env.Region, "AWS_SHARED_CREDENTIALS_FILE": "/etc/aws/credentials",
	}}
	if err := suite.Cluster.Create(ctx, environment); err != nil {
		return err
	}
	if err := suite.Create(ctx, "config/manager", "- --leader-elect", "- --leader-elect\n        - --base-role-arn=arn:aws:iam::"+env.Account+":role/\n        - --cluster-name=test"); err != nil {
		return err
	}
	var d appsv1.Deployment
	if err := suite.Cluster.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-aws-iam-controller"}, &d); err != nil {
		return err
	}
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = 2, 2, 2, 2
	return suite.Cluster.Status().Update(ctx, &d)
}

// namespace is a namespace of one test.
type namespace struct {
	*testing.T

	name string
	// kubeconfig is that of the plugin's user.
	kubeconfig string
	// now is the plugin's clock.
	now func() time.Time
}

// newNamespace creates a namespace, in which the plugin's user is an administrator.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	env.RequireAPIServer(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{ // with pods that the policies would refuse
		GenerateName: "test-", Labels: map[string]string{"iam.amazonaws.com/admission": "ignore"},
	}}
	n := &namespace{T: t}
	n.create(ns)
	n.name = ns.Name
	n.kubeconfig = n.selected(suite.admin)
	return n
}

func (n *namespace) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *namespace) create(objects ...client.Object) {
	n.Helper()
	for _, o := range objects {
		n.must(suite.Cluster.Create(n.Context(), o))
	}
}

// as returns the same namespace for another user of the plugin, who has no rights but those that
// tests give to the group.
func (n *namespace) as(user string, groups ...string) *namespace {
	n.Helper()
	kubeconfig, err := suite.Kubeconfig(n.name+"-"+user, groups...)
	n.must(err)
	other := *n
	other.kubeconfig = n.selected(kubeconfig)
	return &other
}

// selected returns a kubeconfig whose context has the namespace.
func (n *namespace) selected(kubeconfig string) string {
	n.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	n.must(err)
	config.Contexts[config.CurrentContext].Namespace = n.name
	path := filepath.Join(suite.Dir, n.name+"-"+filepath.Base(kubeconfig))
	n.must(clientcmd.WriteToFile(*config, path))
	return path
}

// in returns the same namespace for a subtest.
func (n *namespace) in(t *testing.T) *namespace {
	t.Helper()
	other := *n
	other.T = t
	return &other
}

// await polls until a condition is true.
func (n *namespace) await(what string, condition func() (bool, error)) {
	n.Helper()
	n.must(env.Await(n.Context(), what, condition))
}

// awaitSecret waits until the controller has written a Secret.
func (n *namespace) awaitSecret(name string) *metav1.PartialObjectMetadata {
	n.Helper()
	var s corev1.Secret
	n.await("Secret "+name, func() (bool, error) {
		err := suite.Cluster.Get(n.Context(), client.ObjectKey{Namespace: n.name, Name: name}, &s)
		return err == nil, client.IgnoreNotFound(err)
	})
	return &metav1.PartialObjectMetadata{ObjectMeta: s.ObjectMeta}
}

// result is what a run of the plugin printed, and its exit code.
type result struct {
	out, err string
	code     int
}

// run runs the plugin in the namespace.
func (n *namespace) run(args ...string) result {
	n.Helper()
	return n.runWith(n.Context(), strings.NewReader(""), args...)
}

func (n *namespace) runWith(ctx context.Context, in io.Reader, args ...string) result {
	n.Helper()
	var out, err buffer
	p := &plugin{IOStreams: genericiooptions.IOStreams{In: in, Out: &out, ErrOut: &err}, flags: genericclioptions.NewConfigFlags(true), now: n.now}
	p.flags.WrapConfigFn = func(config *rest.Config) *rest.Config {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return recorder{next} })
		return config
	}
	code := p.run(ctx, "test", append([]string{"--kubeconfig", n.kubeconfig}, args...))
	_, _ = suite.seen.Write([]byte(out.String() + err.String()))
	return result{out.String(), err.String(), code}
}

// recorder records all that the API server answers to the plugin.
type recorder struct{ http.RoundTripper }

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.RoundTripper.RoundTrip(request)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(answer.Body, &suite.seen), answer.Body}
	}
	return answer, err
}

// buffer is a buffer for many writers.
type buffer struct {
	lock sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.Buffer.String()
}

// shell runs commands as a user does who copies them, with kubectl and the plugin, and returns what
// they print. A role that the user has to fill in is orders.
func (n *namespace) shell(commands string) string {
	n.Helper()
	commands = strings.ReplaceAll(commands, "<role name or ARN>", "orders")
	bash := exec.CommandContext(n.Context(), "bash", "-c", commands) //nolint:gosec // the test's own
	bash.Env = append(os.Environ(), "PATH="+suite.path, "KUBECONFIG="+n.kubeconfig)
	out, err := bash.CombinedOutput()
	if err != nil {
		n.Fatalf("%s: %v\n%s", commands, err, out)
	}
	_, _ = suite.seen.Write(out)
	return string(out)
}
