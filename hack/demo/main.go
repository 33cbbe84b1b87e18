// Command demo shows the main job on this machine: a real API server, an STS double, the real controller as a process of its own, and an AWS SDK
// that lives on what the controller writes. It needs no cluster, no AWS account and no root, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	// sessionLifetime is short, so that a refresh can be watched.
	sessionLifetime = 12 * time.Second
	// patience is how long any one step may take.
	patience = time.Minute
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
	if err := sandbox.Isolate(dir); err != nil {
		return err
	}

	title("Starting an API server, an STS double and the controller")
	ctx, cancel := context.WithCancel(ctx)
	w, err := start(dir, controller)
	defer func() {
		cancel() // an API server waits for its watches before it ends
		err = errors.Join(err, w.stop(err != nil))
	}()
	if err != nil {
		return err
	}

	title("Creating the pods and AWSIAMRoles of " + samples + ", and the RBAC that lets them have their roles")
	told, err := w.tell(ctx)
	if err != nil {
		return err
	}
	if err := w.Create(ctx, samples, mountPath, w.mount); err != nil {
		return err
	}
	if err := told.await(ctx, "a good Secret for every pod", (*story).complete); err != nil {
		return err
	}

	title("An unmodified aws-sdk-go-v2 with nothing but AWS_SHARED_CREDENTIALS_FILE")
	if err := w.prove(ctx); err != nil {
		return err
	}
	if keep {
		return w.keep(ctx)
	}

	title("Deleting the pods and AWSIAMRoles")
	if err := w.deleteSamples(ctx); err != nil {
		return err
	}
	if err := told.await(ctx, "every Secret gone", (*story).empty); err != nil {
		return err
	}
	title("Done: every pod had its role, through a refresh, and nothing is left")
	return nil
}

// keep waits for Ctrl-C.
func (w *world) keep(ctx context.Context) error {
	title("All of it stays up until Ctrl-C. Look at it from another terminal:")
	fmt.Printf("  export KUBECONFIG=%s\n  kubectl get pods,secrets --namespace %s\n  kubectl describe pod orders --namespace %s\n", w.kubeconfig, namespace, namespace)
	fmt.Printf("  tail -f %s\n\n", w.controller.Log)
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.controller.Exited:
		w.controller.Exited <- err
		return fmt.Errorf("the controller has ended: %w", err)
	}
}

func title(s string) { fmt.Printf("\n== %s\n", s) }
