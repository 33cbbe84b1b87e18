package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials/ststest"
)

const (
	namespace = "demo"
	account   = "123456789012"
	region    = "eu-central-1"
	// mountPath is where the samples mount their Secrets.
	mountPath = "/meta/aws-iam"
)

// world is all that the demo starts.
type world struct {
	dir        string
	mount      string // stands for mountPath on this machine
	kubeconfig string
	log        string

	api     envtest.Environment
	cluster client.WithWatch
	sts     *ststest.Server
	process *exec.Cmd
	exited  chan error
}

// start brings everything up. What it returns is to be stopped, after an error too.
func start(ctx context.Context, dir, binary string) (*world, error) {
	w := &world{
		dir:        dir,
		mount:      filepath.Join(dir, "meta", "aws-iam"),
		kubeconfig: filepath.Join(dir, "kubeconfig"),
		log:        filepath.Join(dir, "controller.log"),
	}
	w.sts = ststest.New()
	w.sts.SetLatency(30 * time.Millisecond)
	w.sts.SetSessionLifetime(sessionLifetime)

	w.api.CRDDirectoryPaths, w.api.ErrorIfCRDPathMissing = []string{"config/crd/bases"}, true
	admin, err := w.api.Start()
	if err != nil {
		return w, fmt.Errorf("the API server does not start: %w", err)
	}
	fmt.Printf("API server %s\nSTS double %s, whose sessions live only %s\n", admin.Host, w.sts.URL, sessionLifetime)
	user, err := w.api.AddUser(envtest.User{Name: "demo", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return w, err
	}
	config, err := user.KubeConfig()
	if err != nil {
		return w, err
	}
	if err := os.WriteFile(w.kubeconfig, config, 0o600); err != nil {
		return w, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return w, err
	}
	if w.cluster, err = client.NewWithWatch(admin, client.Options{Scheme: scheme}); err != nil {
		return w, err
	}
	err = w.startController(ctx, binary)
	return w, err
}

// startController runs the binary as a user would, with flags and environment.
func (w *world) startController(ctx context.Context, binary string) error {
	out, err := os.Create(w.log)
	if err != nil {
		return err
	}
	keys := w.sts.AddUser(account, "controller")
	// It must outlive the signal that ends the demo, to be stopped in order.
	w.process = exec.CommandContext(context.WithoutCancel(ctx), binary, //nolint:gosec // the user's own binary
		"--base-role-arn=arn:aws:iam::"+account+":role/", "--cluster-name=demo", "--mount-path="+w.mount, "--refresh-limit=1s",
		"--unused-grace-period=2s", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	w.process.Env = append(os.Environ(), "KUBECONFIG="+w.kubeconfig, "AWS_ENDPOINT_URL_STS="+w.sts.URL, "AWS_REGION="+region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey)
	w.process.Stdout, w.process.Stderr = out, out
	if err := w.process.Start(); err != nil {
		w.process = nil
		return fmt.Errorf("the controller does not start: %w", err)
	}
	fmt.Printf("controller %s, process %d\n", binary, w.process.Process.Pid)
	w.exited = make(chan error, 1)
	go func() {
		w.exited <- w.process.Wait()
		_ = out.Close()
	}()
	return nil
}

// stop ends everything, the controller as a cluster would. If the demo failed, it shows the end of the controller's log.
func (w *world) stop(failed bool) error {
	var failures []error
	if w.process != nil {
		failures = append(failures, w.process.Process.Signal(syscall.SIGTERM))
		select {
		case err := <-w.exited:
			failures = append(failures, err)
		case <-time.After(patience):
			failures = append(failures, errors.New("the controller does not end on SIGTERM"), w.process.Process.Kill())
		}
	}
	if failed {
		w.showLog()
	}
	failures = append(failures, w.api.Stop())
	w.sts.Close()
	return errors.Join(failures...)
}

func (w *world) showLog() {
	const most = 20
	text, err := os.ReadFile(w.log)
	if err != nil {
		return
	}
	lines := strings.SplitAfter(string(text), "\n")
	fmt.Fprintf(os.Stderr, "the end of the controller's log:\n%s", strings.Join(lines[max(0, len(lines)-most):], ""))
}

// createSamples creates what the manifests in a folder describe, namespaces first. The pods' mount path is the demo's: no kubelet will mount
// anything, the demo itself takes the files out of the Secrets.
func (w *world) createSamples(ctx context.Context, folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no manifests in %s: %w", folder, err)
	}
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		found, err := w.readManifest(path)
		if err != nil {
			return err
		}
		objects = append(objects, found...)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetNamespace(), b.GetNamespace()) })
	for _, o := range objects {
		if err := w.cluster.Create(ctx, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

func (w *world) readManifest(path string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user's own samples
	if err != nil {
		return nil, err
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(bytes.ReplaceAll(text, []byte(mountPath), []byte(w.mount))), 4096)
	var objects []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// deleteSamples deletes everything that wants a role.
func (w *world) deleteSamples(ctx context.Context) error {
	return errors.Join(
		w.cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)),
		w.cluster.DeleteAllOf(ctx, &v1.AWSIAMRole{}, client.InNamespace(namespace)),
	)
}
