package scripts_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "kube-aws-iam-controller/api/v1"
	ststest "kube-aws-iam-controller/test/sts"
)

// cluster is an API server that serves AWSIAMRoles, and the programs that scripts run.
type cluster struct {
	client.Client

	kubeconfig   []byte
	aws, kubectl string
}

// start starts a cluster. It looks for the programs first, and skips the test if one is missing.
func start(t *testing.T) *cluster {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		skip(t, "KUBEBUILDER_ASSETS is not set: make test sets it; on your own: export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl)")
	}
	// Reading the script makes go test repeat a cached test when the script changes.
	if _, err := os.ReadFile("bootstrap.sh"); err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		aws:     program(t, "PATH=$(hack/awscli/install.sh):$PATH", "aws"),
		kubectl: program(t, "KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl)", filepath.Join(assets, "kubectl"), "kubectl"),
	}

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Client, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	c.kubeconfig = env.KubeConfig
	return c
}

// program returns the path of the first candidate that exists, and skips the test if there is none.
func program(t *testing.T, remedy string, candidates ...string) string {
	t.Helper()
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	skip(t, fmt.Sprintf("%s: not found; set %s, as make test does", filepath.Base(candidates[0]), remedy))
	return ""
}

// skip skips the test, but fails it in CI.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// testEnv is what a user has: a shell with environment variables, an AWS account, and a namespace.
type testEnv struct {
	*cluster

	sts       *ststest.Server
	namespace string
	vars      map[string]string
	folder    string
	bash      []string // options of bash
}

func (c *cluster) newEnv(t *testing.T) *testEnv {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bootstrap-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	sts := ststest.New()
	t.Cleanup(sts.Close)
	user := sts.AddUser(account, "admin")

	e := &testEnv{cluster: c, sts: sts, namespace: namespace.Name, folder: t.TempDir()}
	e.write(t, "home/kubeconfig", string(c.kubeconfig))
	e.write(t, "bin/aws", fmt.Sprintf("#!/bin/sh\necho aws \"$@\" >>%s/argv\nexec %s \"$@\"\n", e.folder, c.aws))
	e.write(t, "bin/kubectl", fmt.Sprintf(`#!/bin/sh
echo kubectl "$@" >>%s/argv
case "$BEFORE_PATCH:$*" in ?*:*patch*) %[2]s $BEFORE_PATCH ;; esac
exec %[2]s "$@"
`, e.folder, c.kubectl))
	e.write(t, "tmp/.keep", "")
	e.vars = map[string]string{
		"PATH":                      e.folder + "/bin:" + os.Getenv("PATH"),
		"HOME":                      e.folder + "/home",
		"TMPDIR":                    e.folder + "/tmp",
		"KUBECONFIG":                e.folder + "/home/kubeconfig",
		"AWS_ENDPOINT_URL_STS":      sts.URL,
		"AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION":                "eu-central-1",
		"AWS_ACCESS_KEY_ID":         user.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":     user.SecretAccessKey,
	}
	return e
}

func (e *testEnv) write(t *testing.T, path, content string) {
	t.Helper()
	path = filepath.Join(e.folder, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil { //nolint:gosec // some are programs
		t.Fatal(err)
	}
}

func (e *testEnv) environment() []string {
	var list []string
	for name, value := range e.vars {
		list = append(list, name+"="+value)
	}
	return list
}

func (e *testEnv) succeed(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := e.bootstrap(t, arguments)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

func (e *testEnv) fail(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := e.bootstrap(t, arguments)
	if err == nil {
		t.Fatalf("it did not fail: %s", out)
	}
	contains(t, out, "bootstrap.sh: ")
	return out
}

// bootstrap runs the script, checks that it prints no secret, and returns its output.
func (e *testEnv) bootstrap(t *testing.T, arguments []string) (string, error) {
	t.Helper()
	run := slices.Concat(e.bash, []string{"bootstrap.sh", "--namespace", e.namespace}, arguments)
	command := exec.CommandContext(t.Context(), "bash", run...) //nolint:gosec // from the test
	command.Env = e.environment()
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	e.assertNoLeak(t, "the output", string(out))
	return string(out), err
}

func (e *testEnv) assertNoLeak(t *testing.T, where, text string) {
	t.Helper()
	for secret := range e.sts.IssuedSecrets() {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in %s", where)
		}
	}
}

// argv returns the command lines of aws and kubectl.
func (e *testEnv) argv(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.folder, "argv"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (e *testEnv) create(t *testing.T, object client.Object) {
	t.Helper()
	object.SetNamespace(e.namespace)
	if err := e.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func (e *testEnv) get(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := e.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}
