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
	"kube-aws-iam-controller/test/env"
)

const (
	// shop is the namespace of the pods that are injected, and namespace that of the samples.
	shop      = "shop"
	namespace = "demo"
	// mountPath is where the samples mount their Secrets.
	mountPath = "/meta/aws-iam"
)

// environment is everything that the demo starts.
type environment struct {
	*env.Sandbox
	controller *env.Controller
	kubeconfig string
	mount      string // stands for mountPath on this machine
}

// start starts everything. The caller stops what it returns, after an error too.
func start(dir, binary string) (*environment, error) {
	s, err := env.Start(dir, nil)
	e := &environment{Sandbox: s, mount: filepath.Join(dir, "meta", "aws-iam")}
	if err != nil {
		return e, err
	}
	e.STS.SetLatency(30 * time.Millisecond)
	e.STS.SetSessionLifetime(sessionLifetime)
	fmt.Printf("API server %s\nSTS double %s, whose sessions last %s\n", e.Admin.Host, e.STS.URL, sessionLifetime)
	if e.kubeconfig, err = e.Kubeconfig("demo", "system:masters"); err != nil {
		return e, err
	}
	e.controller, err = e.StartController(binary, "controller", e.kubeconfig, "--cluster-name=demo", "--mount-path="+e.mount, "--refresh-limit=1s",
		"--unused-grace-period=2s", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	if err == nil {
		fmt.Printf("controller %s, process %d\n", binary, e.controller.Pid)
	}
	return e, err
}

// stop stops everything, the controller as a cluster does. If the demo failed, it shows the end of
// the controller's log.
func (e *environment) stop(failed bool) error {
	const most = 20
	var failures []error
	if e.controller != nil {
		failures = append(failures, e.controller.Stop())
		if failed {
			fmt.Fprintf(os.Stderr, "the end of the controller's log:\n%s", e.controller.LogTail(most))
		}
	}
	return errors.Join(append(failures, e.Stop())...)
}

// deleteSamples deletes everything that asks for a role.
func (e *environment) deleteSamples(ctx context.Context) error {
	return errors.Join(
		e.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(shop), client.GracePeriodSeconds(0)),
		e.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)),
		e.Cluster.DeleteAllOf(ctx, &v1.AWSIAMRole{}, client.InNamespace(namespace)),
	)
}
