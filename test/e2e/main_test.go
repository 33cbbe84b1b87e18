//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"kube-aws-iam-controller/test/e2e/node"
	"kube-aws-iam-controller/test/env"
)

// testEnv is the cluster that all tests share, with the controller deployed on it.
type testEnv struct {
	options
	// ctx ends with a signal, and when a program that the cluster needs has ended; fail ends it.
	ctx  context.Context
	fail context.CancelCauseFunc

	once     sync.Once
	startErr error
	cluster  Cluster
	Access
	// client is the administrator's, without a rate limit.
	client client.WithWatch
	tables []*table
}

// wholeRun is the pattern of tests' names that make e2e has without RUN.
const wholeRun = "^Test(Endpoint|FileMode|Moto|Promise|SDKs|Secret)"

// shared is used by every test, through startEnv.
var shared *testEnv

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

// runTests returns the exit code of a run. Tests run isolated, unless they have a cluster.
func runTests(m *testing.M) int {
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	pattern := flag.Lookup("test.run").Value.String()
	o, err := readOptions(root, os.Getenv, pattern != "" && pattern != wholeRun)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return node.RunIsolated(o.remote.kubeconfig == "", func(ctx context.Context) int {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		shared = &testEnv{options: o, ctx: ctx, fail: cancel}
		code := m.Run()
		if err := shared.finish(code == 0); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
			code = max(code, 1)
		}
		if code != 0 {
			fmt.Fprintf(os.Stderr, "\nlogs are in %s\n", o.logs)
		}
		return code
	})
}

// finish ends the cluster and keeps its logs. It returns an error if a secret is in them, or if no
// test has used the cluster. After a whole run that passed it writes the docs.
func (e *testEnv) finish(passed bool) error {
	if e.cluster == nil && e.startErr == nil && passed {
		return errors.New("no test has run on the cluster: see go test -list for names")
	}
	if e.cluster == nil {
		return nil // a test has failed with what happened
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), time.Minute)
	defer cancel()
	err := e.keepLogs(ctx)
	if err == nil && passed && e.docs != "" {
		err = e.writeDocs()
	}
	return errors.Join(err, e.cluster.Stop(ctx))
}

// writeDocs writes the tables of a whole run.
func (e *testEnv) writeDocs() error {
	if _, err := os.Stat(e.moto); err != nil {
		return fmt.Errorf("the docs have the tables of a whole run: %w", err)
	}
	return writeDocs(e.docs, e.tables)
}

// startEnv returns the cluster with the controller, which the first test starts.
func startEnv(tb testing.TB) *testEnv {
	tb.Helper()
	e := shared
	e.once.Do(func() { e.startErr = e.start() })
	if e.startErr != nil {
		e.check(tb, fmt.Errorf("the cluster does not start: %w", e.startErr))
	}
	return e
}

func (e *testEnv) start() error {
	log.SetLogger(logr.Discard())
	fmt.Println("\n== Starting the cluster")
	began := time.Now()
	var err error
	if e.remote.kubeconfig != "" {
		err = e.startRemote()
	} else {
		err = e.startLocal()
	}
	if err != nil {
		return err
	}
	e.Access = e.cluster.Access()
	if e.client, err = newClient(e.Kubeconfig); err != nil {
		return err
	}
	if err := e.trustAPIServer(); err != nil {
		return fmt.Errorf("reading the keys of the API server's tokens: %w", err)
	}
	e.STS.SetLatency(stsLatency)
	if err := e.deploy(); err != nil {
		return fmt.Errorf("deploying the controller: %w", err)
	}
	fmt.Printf("%6.1f s  all of it, with the controller ready and leading\n", time.Since(began).Seconds())
	return nil
}

// trustAPIServer has STS trust the tokens of the cluster's API server.
func (e *testEnv) trustAPIServer() error {
	config, err := clientcmd.BuildConfigFromFlags("", e.Kubeconfig)
	if err != nil {
		return err
	}
	_, err = env.TrustAPIServer(e.ctx, config, e.STS)
	return err
}

func newClient(kubeconfig string) (client.WithWatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// check ends a test if there is an error. If the run has ended because of another failure, it fails
// with that, as the rest follows from it.
func (e *testEnv) check(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if cause := context.Cause(e.ctx); cause != nil {
		err = cause
	}
	tb.Fatal(err)
}

// localNode returns the local node. On any other cluster it skips the test: why says for what the
// test needs the node.
func (e *testEnv) localNode(tb testing.TB, why string) *node.Node {
	tb.Helper()
	local, ok := e.cluster.(*localCluster)
	if !ok {
		tb.Skip("it needs the local node: " + why)
	}
	return local.node
}

// addTable prints a table and keeps it for the docs.
func (e *testEnv) addTable(t *table) {
	t.print(os.Stdout)
	e.tables = append(e.tables, t)
}
