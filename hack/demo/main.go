// Command demo shows the main job on this machine: a real API server that injects, an STS double,
// the real controller as a process of its own, and an AWS SDK that lives on what the controller
// writes. It needs no cluster, no AWS account and no root, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"kube-aws-iam-controller/test/env"
)

const (
	// sessionLifetime is short, so that a refresh can be watched.
	sessionLifetime = 12 * time.Second
	// timeout is the limit of each step.
	timeout = time.Minute
)

func main() {
	controller := flag.String("controller", "bin/kube-aws-iam-controller", "the controller's binary")
	samples := flag.String("samples", "config/samples", "folder of the pods' manifests")
	keep := flag.Bool("keep", false, "keep everything up until Ctrl-C")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *controller, *samples, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1) //nolint:gocritic // everything is cleaned up by run
	}
}

func run(ctx context.Context, controller, samples string, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "kube-aws-iam-controller-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := env.Isolate(dir); err != nil {
		return err
	}

	title("Starting an API server, an STS double and the controller")
	ctx, cancel := context.WithCancel(ctx)
	e, err := start(dir, controller)
	defer func() {
		cancel() // an API server waits for its watches before it ends
		err = errors.Join(err, e.stop(err != nil))
	}()
	if err != nil {
		return err
	}

	return e.show(ctx, samples, keep)
}

// show goes through the life of pods with roles.
func (e *environment) show(ctx context.Context, samples string, keep bool) error {
	w, err := e.watch(ctx)
	if err != nil {
		return err
	}
	title("Creating a pod with one annotation. The API server adds what is marked with +")
	if err := e.showInjection(ctx); err != nil {
		return err
	}
	title("The controller writes the Secret of this pod, and of another one that asks by a label")
	if err := e.createPods(ctx); err != nil {
		return err
	}
	if err := e.awaitSecrets(ctx, w); err != nil {
		return err
	}

	title("Calling STS with aws-sdk-go-v2, which is configured by AWS_SHARED_CREDENTIALS_FILE alone")
	if err := e.useSDK(ctx); err != nil {
		return err
	}

	title("Without injection: the pods of " + samples + " mount their Secrets themselves")
	if err := e.Create(ctx, samples, mountPath, e.mount); err != nil {
		return err
	}
	if err := e.awaitSecrets(ctx, w); err != nil {
		return err
	}
	if keep {
		return e.keep(ctx)
	}
	return e.finish(ctx, w)
}

// finish deletes the pods, and waits until the controller has deleted their Secrets.
func (e *environment) finish(ctx context.Context, w *watcher) error {
	title("Deleting the pods and AWSIAMRoles")
	if err := e.deleteSamples(ctx); err != nil {
		return err
	}
	if err := w.await(ctx, "all Secrets are deleted", (*watcher).empty); err != nil {
		return err
	}
	title("Done. Every pod got its role, the SDK followed a renewal, and all Secrets are deleted")
	fmt.Println("To look at it with kubectl, run: make demo KEEP=1")
	return nil
}

// keep prints how to look at the cluster, and waits for Ctrl-C.
func (e *environment) keep(ctx context.Context) error {
	title("Everything stays up until Ctrl-C. Look at it from another terminal:")
	fmt.Printf("  export KUBECONFIG=%s\n  %s get pods,secrets --namespace %s\n  %[2]s describe pod checkout --namespace %[3]s\n  %[2]s get pods,secrets --namespace %s\n",
		e.kubeconfig, kubectl(), shop, namespace)
	fmt.Printf("  tail -f %s\n\n", e.controller.Log)
	fmt.Print("The pods stay Pending, because this cluster has no kubelet that runs them.\n\n")
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.controller.Exited:
		e.controller.Exited <- err
		return fmt.Errorf("the controller has exited: %w", err)
	}
}

// kubectl returns the path of the kubectl beside the API server, or its name if there is none.
func kubectl() string {
	if path, err := exec.LookPath(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")); err == nil {
		return path
	}
	return "kubectl"
}

func title(s string) { fmt.Printf("\n== %s\n", s) }
