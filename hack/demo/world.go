package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/hack/sandbox"
)

const (
	namespace = "demo"
	// mountPath is where the samples mount their Secrets.
	mountPath = "/meta/aws-iam"
)

// world is all that the demo starts.
type world struct {
	*sandbox.Sandbox
	controller *sandbox.Controller
	kubeconfig string
	mount      string // stands for mountPath on this machine
}

// start brings everything up. What it returns is to be stopped, after an error too.
func start(dir, binary string) (*world, error) {
	s, err := sandbox.Start(dir, nil)
	w := &world{Sandbox: s, mount: filepath.Join(dir, "meta", "aws-iam")}
	if err != nil {
		return w, err
	}
	w.STS.SetLatency(30 * time.Millisecond)
	w.STS.SetSessionLifetime(sessionLifetime)
	fmt.Printf("API server %s\nSTS double %s, whose sessions live only %s\n", w.Admin.Host, w.STS.URL, sessionLifetime)
	if w.kubeconfig, err = w.Kubeconfig("demo", "system:masters"); err != nil {
		return w, err
	}
	w.controller, err = w.StartController(binary, "controller", w.kubeconfig, "--cluster-name=demo", "--mount-path="+w.mount, "--refresh-limit=1s",
		"--unused-grace-period=2s", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	if err == nil {
		fmt.Printf("controller %s, process %d\n", binary, w.controller.Pid)
	}
	return w, err
}

// stop ends everything, the controller as a cluster would. If the demo failed, it shows the end of the controller's log.
func (w *world) stop(failed bool) error {
	const most = 20
	var failures []error
	if w.controller != nil {
		failures = append(failures, w.controller.Stop())
		if failed {
			fmt.Fprintf(os.Stderr, "the end of the controller's log:\n%s", w.controller.LogTail(most))
		}
	}
	return errors.Join(append(failures, w.Stop())...)
}

// deleteSamples deletes everything that wants a role.
func (w *world) deleteSamples(ctx context.Context) error {
	return errors.Join(
		w.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)),
		w.Cluster.DeleteAllOf(ctx, &v1.AWSIAMRole{}, client.InNamespace(namespace)),
	)
}
