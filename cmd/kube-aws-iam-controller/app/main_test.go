package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

func TestVersion(t *testing.T) {
	var out strings.Builder
	if err := Run(t.Context(), "development", []string{"--version"}, &out); err != nil || out.String() != "development\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out strings.Builder
	if err := Run(t.Context(), "development", []string{"--help"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"base-role-arn", "assume-role", "session-duration", "refresh-limit", "sts-qps", "namespace", "authorization-mode", "dry-run-authorization", "external-id", "session-tags", "cluster-name", "mount-path",
		"unused-grace-period", "apiserver", "kubeconfig", "max-concurrent-reconciles", "leader-elect", "metrics-bind-address", "metrics-secure", "health-probe-bind-address",
		"debug", "zap-log-level", "zap-encoder", "version",
	} {
		if !strings.Contains(out.String(), "--"+name+" ") {
			t.Errorf("--%s is missing in\n%s", name, out.String())
		}
	}
	if strings.Contains(out.String(), "--interval") {
		t.Error("--interval, which does nothing, is offered")
	}
}

func TestBadCommandLines(t *testing.T) {
	for _, c := range []struct {
		says  string
		args  []string
		names []string
	}{
		{"an unknown flag", []string{"--role=x"}, []string{"--role", "--help"}},
		{"a flag without its value", []string{"--mount-path"}, []string{"--mount-path", "--help"}},
		{"something that is no flag", []string{"run"}, []string{`"run"`, "--help"}},
		{"a value that is not accepted", []string{"--sts-qps=0"}, []string{"--sts-qps"}},
	} {
		t.Run(c.says, func(t *testing.T) {
			var out strings.Builder
			err := Run(t.Context(), "development", c.args, &out)
			if err == nil {
				t.Fatal("accepted")
			}
			wantLine(t, err.Error(), c.names...)
			if out.Len() > 0 {
				t.Errorf("more than the error is printed: %s", out.String())
			}
		})
	}
}

func TestNothingToWorkOn(t *testing.T) {
	kubeconfig := kubeconfig(t, "https://127.0.0.1:1")
	for _, c := range []struct {
		says  string
		args  []string
		env   map[string]string
		names []string
	}{
		{"no cluster", nil, map[string]string{"KUBECONFIG": filepath.Join(t.TempDir(), "none")}, []string{"KUBECONFIG", "--kubeconfig"}},
		{"no Region", nil, map[string]string{"KUBECONFIG": kubeconfig, "AWS_REGION": ""}, []string{"AWS_REGION"}},
		{"an address to listen on that is none", []string{"--apiserver=" + apiServer(t, func(string) {}), "--authorization-mode=AlwaysAllow", "--health-probe-bind-address=nowhere"}, nil, []string{"nowhere"}},
	} {
		t.Run(c.says, func(t *testing.T) {
			logOf(t, func() {
				environment(t, c.env)
				err := Run(t.Context(), "development", append([]string{"--metrics-bind-address=0", "--health-probe-bind-address=0"}, c.args...), io.Discard)
				if err == nil {
					t.Fatal("it ran")
				}
				wantLine(t, err.Error(), c.names...)
			})
		})
	}
}

// commandLine is the variable by which a test makes this test binary be the program itself, with
// these arguments.
const commandLine = "COMMAND_LINE"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(commandLine); ok {
		if err := Run(ctrl.SetupSignalHandler(), "development", strings.Fields(args), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "kube-aws-iam-controller: "+err.Error())
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// program starts the program. Nothing outlives it in the test: the libraries leave goroutines
// behind.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	environment(t, nil)
	stderr = &bytes.Buffer{}
	cmd = exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // G204: this very test
	cmd.Env = append(os.Environ(), commandLine+"="+strings.Join(args, " "))
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

// The whole program, until a signal: it asks the API server for what it is to keep, and
// ends without an error.
func TestRunUntilTheEnd(t *testing.T) {
	watched := make(chan string, 100)
	server := apiServer(t, func(resource string) {
		select {
		case watched <- resource:
		default:
		}
	})
	cmd, stderr := program(t, "--apiserver="+server, "--namespace=payments", "--authorization-mode=AlwaysAllow", "--interval=10s", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for wanted := map[string]bool{"pods": true, "secrets": true}; len(wanted) > 0; {
		select {
		case resource := <-watched:
			delete(wanted, resource)
		case err := <-ended:
			t.Fatalf("it ended before it asked for %v: %v, %s", wanted, err, stderr)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v: %s", err, stderr)
	}

	var said []string
	for line := range strings.Lines(stderr.String()) {
		var entry struct{ Level, Msg, Version string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("no JSON: %s", line)
		}
		said = append(said, entry.Msg)
	}
	if len(said) < 2 || said[0] != "starting" || !strings.Contains(said[1], "--interval is ignored") {
		t.Errorf("logged %q", said)
	}
}

// While the API server does not answer, the program waits for it and logs that, until a signal.
func TestRunWithoutAnAPIServer(t *testing.T) {
	said, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	environment(t, nil)
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // G204: this very test
	cmd.Env = append(os.Environ(), commandLine+"=--apiserver=http://127.0.0.1:1 --metrics-bind-address=0 --health-probe-bind-address=0")
	cmd.Stderr = written
	if err := errors.Join(cmd.Start(), written.Close()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), "http://127.0.0.1:1/") {
		t.Log(lines.Text())
	}
	wantLine(t, lines.Text(), "retrying", "connection refused")
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

func TestBadFlagsEndWithOneLineAndExitCode1(t *testing.T) {
	cmd, stderr := program(t, "--refresh-limit=2h")
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if want := "kube-aws-iam-controller: --refresh-limit=2h0m0s must be shorter than --session-duration=1h0m0s: credentials would always be due for renewal\n"; stderr.String() != want {
		t.Errorf("it said\n%s\nwant\n%s", stderr, want)
	}
}

func TestClusterConfig(t *testing.T) {
	kubeconfig := kubeconfig(t, "https://127.0.0.1:1")
	for _, c := range []struct {
		says            string
		args            []string
		env             map[string]string
		host, authority string
	}{
		{"--apiserver alone, as upstream behind kubectl proxy", []string{"--apiserver=http://127.0.0.1:8001"}, nil, "http://127.0.0.1:8001", ""},
		{"KUBECONFIG", nil, map[string]string{"KUBECONFIG": kubeconfig}, "https://127.0.0.1:1", "alice"},
		{"--kubeconfig", []string{"--kubeconfig=" + kubeconfig}, nil, "https://127.0.0.1:1", "alice"},
		{"KUBECONFIG with another API server", []string{"--apiserver=http://127.0.0.1:8001"}, map[string]string{"KUBECONFIG": kubeconfig}, "http://127.0.0.1:8001", "alice"},
		{"--kubeconfig with another API server", []string{"--apiserver=http://127.0.0.1:8001", "--kubeconfig=" + kubeconfig}, nil, "http://127.0.0.1:8001", "alice"},
	} {
		t.Run(c.says, func(t *testing.T) {
			environment(t, c.env)
			o, err := parse(t, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := clusterConfig(&o)
			if err != nil || got.Host != c.host || got.Username != c.authority {
				t.Errorf("got %v, %v, want %s at %s", got, err, c.authority, c.host)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct {
		says        string
		args        []string
		debug, json bool
		stacktrace  bool
	}{
		{"JSON at info level", nil, false, true, false},
		{"--debug", []string{"--debug"}, true, true, false},
		{"the zap flag says the same", []string{"--zap-log-level=debug"}, true, true, false},
		{"the zap flag wins", []string{"--debug", "--zap-log-level=info"}, false, true, false},
		{"for developers", []string{"--zap-devel"}, true, false, true},
		{"as asked for", []string{"--zap-encoder=console", "--zap-stacktrace-level=error"}, false, false, true},
		{"JSON for developers", []string{"--zap-devel", "--zap-encoder=json"}, true, true, true},
	} {
		t.Run(c.says, func(t *testing.T) {
			o, err := parse(t, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			log := logOf(t, func() {
				logger := newLogger(&o)
				logger.V(1).Info("a detail")
				for range 500 {
					logger.Info("a line", "key", "value")
				}
				logger.Error(io.EOF, "an error")
			})
			if n := strings.Count(log, "a line"); n != 500 {
				t.Errorf("%d of 500 lines were logged", n)
			}
			if strings.Contains(log, "a detail") != c.debug {
				t.Errorf("debug is %t, want %t", !c.debug, c.debug)
			}
			if strings.HasPrefix(log, "{") != c.json {
				t.Errorf("JSON is %t, want %t: %.200s", !c.json, c.json, log)
			}
			if strings.Contains(log, "TestLogger") != c.stacktrace {
				t.Errorf("stack trace is %t, want %t", !c.stacktrace, c.stacktrace)
			}
		})
	}
}

func TestLogClock(t *testing.T) {
	for ahead, want := range map[time.Duration]struct{ level, message, ahead string }{
		7 * time.Minute:                     {"error", "the machine's clock is wrong, and STS's is used instead", "7m0s"},
		-2*time.Hour - 100*time.Millisecond: {"error", "the machine's clock is wrong, and STS's is used instead", "-2h0m0s"},
		0:                                   {"info", "the machine's clock is right again", ""},
	} {
		log := logOf(t, func() {
			var o options
			logClock(newLogger(&o).WithValues())(ahead)
		})
		var line struct{ Level, Msg, Ahead string }
		if err := json.Unmarshal([]byte(log), &line); err != nil {
			t.Fatalf("%v: %s", err, log)
		}
		if line.Level != want.level || !strings.HasPrefix(line.Msg, want.message) || line.Ahead != want.ahead {
			t.Errorf("ahead by %s: %s", ahead, log)
		}
	}
}

func TestLogTimes(t *testing.T) {
	for _, c := range []struct {
		says string
		args []string
		want string
	}{
		{"RFC 3339 with nanoseconds", nil, `"ts":"20`},
		{"as asked for", []string{"--zap-time-encoding=epoch"}, `"ts":1`},
	} {
		t.Run(c.says, func(t *testing.T) {
			o, err := parse(t, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if log := logOf(t, func() { newLogger(&o).Info("x") }); !strings.Contains(log, c.want) {
				t.Errorf("got %s, want %s", log, c.want)
			}
		})
	}
	if withDefaults((&options{}).log, false).Level.Enabled(zapcore.DebugLevel) {
		t.Error("debug is the default")
	}
}

// apiServer starts an API server that has no pods and Secrets, and reports the watches that begin.
func apiServer(t *testing.T, watched func(resource string)) (address string) {
	t.Helper()
	known := map[string]string{
		"/api":    `{"kind": "APIVersions", "versions": ["v1"]}`,
		"/apis":   `{"kind": "APIGroupList", "apiVersion": "v1", "groups": []}`,
		"/api/v1": `{"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "secrets", "namespaced": true, "kind": "Secret"}, {"name": "pods", "namespaced": true, "kind": "Pod"}, {"name": "serviceaccounts", "namespaced": true, "kind": "ServiceAccount"}]}`,
	}
	// The initial list, which is empty, in the stream of a watch.
	none := map[string]string{}
	for resource, kind := range map[string]string{
		"pods": `"kind": "Pod", "apiVersion": "v1"`, "secrets": `"kind": "Secret", "apiVersion": "v1"`,
		"serviceaccounts": `"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"`,
	} {
		none[resource] = `{"type": "BOOKMARK", "object": {` + kind + `, "metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}}}`
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if answer, ok := known[r.URL.Path]; ok {
			_, _ = io.WriteString(w, answer)
			return
		}
		resource, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/payments/")
		if !ok || none[resource] == "" || r.URL.Query().Get("watch") == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, none[resource]+"\n")
		_ = http.NewResponseController(w).Flush()
		watched(resource)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// environment is one with a Region and nothing else, changed by the test. What is registered for
// the whole process is so for the test only.
func environment(t *testing.T, changes map[string]string) {
	t.Helper()
	nowhere := t.TempDir()
	for variable, value := range map[string]string{
		"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "", "KUBECONFIG": "", "HOME": nowhere,
		"AWS_CONFIG_FILE": filepath.Join(nowhere, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(nowhere, "credentials"),
		"AWS_PROFILE": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_ROLE_ARN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "", "AWS_REGION": "eu-central-1",
	} {
		t.Setenv(variable, value)
	}
	for variable, value := range changes {
		t.Setenv(variable, value)
	}
	registry := ctrlmetrics.Registry
	ctrlmetrics.Registry = prometheus.NewRegistry()
	t.Cleanup(func() {
		ctrlmetrics.Registry = registry
		_ = flag.Set("kubeconfig", "")
	})
}

// kubeconfig writes a kubeconfig of the user alice for an API server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
"clusters": [{"name": "k", "cluster": {"server": "` + server + `"}}],
"users": [{"name": "u", "user": {"username": "alice", "password": "x"}}],
"contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// logOf returns what is logged while do runs.
func logOf(t *testing.T, do func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = stderr }()
	do()
	log, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}
