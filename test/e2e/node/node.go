//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/env"
)

const (
	nodeName = "e2e"
	// APIAddress is where the API server listens: the very address of the Service kubernetes, so
	// that pods reach it without kube-proxy.
	APIAddress   = "10.96.0.1"
	serviceRange = "10.96.0.0/24"
	// Address is the node's, and that of the STS double: the bridge of all pods.
	Address = "10.88.0.1"
	// PodRange has the addresses of pods.
	PodRange = "10.88.0.0/16"

	// startTimeout is how long etcd and the API server can take each; envtest waits for both in
	// this order. Its own 20 s are too few for a busy machine.
	startTimeout = "5m"
	// tokenSize is the size of one session token in four: the longest that STS returns, so that
	// every SDK reads files of that size. Source: the API reference of STS, AssumeRole.
	tokenSize = 4096
)

// Config says what a Node is made of.
type Config struct {
	// Assets is a folder with the programs of Kubernetes, and etcd.
	Assets string
	// Busybox is a static busybox, of which the image Toolbox is made.
	Busybox string
	// Images are the archives of container images to load.
	Images []string
	// Logs is the folder for the logs of all programs. What was in it is removed.
	Logs string
}

// Node is a cluster of one node on this machine, with the STS double.
type Node struct {
	*env.Sandbox
	Config
	// Kubeconfig is the administrator's.
	Kubeconfig string
	// fail ends the run because a daemon has ended.
	fail    context.CancelCauseFunc
	daemons []*daemon
	// compacted is the revision of etcd before which it has no history.
	compacted revision
}

// Start brings a node up within RunIsolated, and prints how long each part took. It calls fail when
// a program that has to run until the end exits. The result is to be killed, after an error too.
func Start(ctx context.Context, fail context.CancelCauseFunc, c Config) (*Node, error) {
	n := &Node{Config: c, fail: fail}
	if err := errors.Join(env.Isolate(dir), os.Setenv("KUBEBUILDER_ASSETS", c.Assets),
		os.Setenv("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", startTimeout),
		os.RemoveAll(c.Logs), os.MkdirAll(c.Logs, 0o755)); err != nil { //nolint:gosec // logs are for every user
		return n, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"network", n.startNetwork},
		{"etcd, API server and STS double", n.startControlPlane},
		{"controller manager, scheduler, containerd and kubelet", n.startDaemons},
		{"images", n.loadImages},
		{"node is ready", n.awaitReady},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return n, fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%6.1f s  %s\n", time.Since(began).Seconds(), step.name)
	}
	return n, nil
}

func (*Node) startNetwork(ctx context.Context) error {
	for _, args := range []string{
		"link set lo up",
		"address add " + APIAddress + "/32 dev lo",
		"link add cni0 type bridge",
		"address add " + Address + "/16 dev cni0",
		// Without one of its own, the bridge's address changes with the pods, and packets to it
		// get lost.
		"link set cni0 address 02:00:00:00:00:01 up",
	} {
		if err := run(ctx, "ip", strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) startControlPlane(context.Context) (err error) {
	n.Sandbox, err = env.StartAt(dir, net.JoinHostPort(APIAddress, "443"), net.JoinHostPort(Address, "80"), map[string]string{
		"service-cluster-ip-range":  serviceRange,
		"authorization-mode":        "Node,RBAC",
		"enable-admission-plugins":  "NodeRestriction",
		"disable-admission-plugins": "",
	})
	if err != nil {
		return err
	}
	n.STS.SetTokenSize(tokenSize)
	n.Kubeconfig, err = n.Sandbox.Kubeconfig("admin", "system:masters")
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "ca.crt"), n.Admin.CAData, 0o600))
}

// startDaemons starts what makes a cluster of an API server, each after what it needs answers: most
// of these programs end if it does not. The node's readiness shows that all of it works.
func (n *Node) startDaemons(ctx context.Context) error {
	if err := writeConfigs(); err != nil {
		return err
	}
	if err := n.StartDaemon("containerd", "containerd", "--config="+filepath.Join(dir, "containerd.toml")); err != nil {
		return err
	}
	// It is ready when it has made its roles and namespaces.
	if err := env.Await(ctx, "the API server is ready", func() (bool, error) {
		return run(ctx, filepath.Join(n.Assets, "kubectl"), "--kubeconfig="+n.Kubeconfig,
			"get", "--raw=/readyz", "--request-timeout="+probeTimeout.String()) == nil, nil
	}); err != nil {
		return err
	}
	if err := n.startAs(Scheduler, "system:kube-scheduler", "", "--leader-elect=false"); err != nil {
		return err
	}
	if err := n.startAs(ControllerManager, "system:kube-controller-manager", "",
		"--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file="+filepath.Join(n.API.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"),
		"--root-ca-file="+filepath.Join(dir, "ca.crt")); err != nil {
		return err
	}
	if err := env.Await(ctx, "containerd answers the kubelet's calls", containerdReady(ctx)); err != nil {
		return err
	}
	return n.startAs(Kubelet, "system:node:"+nodeName, "system:nodes",
		"--config="+kubeletConfigFile, "--hostname-override="+nodeName, "--node-ip="+Address,
		"--root-dir="+kubeletDir, "--cert-dir="+filepath.Join(dir, "pki"))
}

// startAs starts a program of Kubernetes as a user of the API server, in a group unless that is "".
func (n *Node) startAs(program, user, group string, args ...string) error {
	var groups []string
	if group != "" {
		groups = []string{group}
	}
	kubeconfig, err := n.Sandbox.Kubeconfig(user, groups...)
	if err != nil {
		return err
	}
	return n.StartDaemon(program, filepath.Join(n.Assets, program), append(args, "--kubeconfig="+kubeconfig)...)
}

// loadImages loads images as the README says, and those of this package.
func (n *Node) loadImages(ctx context.Context) error {
	toolbox, bare := filepath.Join(dir, "toolbox.tar"), filepath.Join(dir, "bare.tar")
	if err := errors.Join(writeToolbox(toolbox, n.Busybox), writeBare(bare)); err != nil {
		return err
	}
	for _, archive := range append([]string{toolbox, bare}, n.Images...) {
		if err := run(ctx, "ctr", "-n", "k8s.io", "images", "import", archive); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(toolbox), os.Remove(bare))
}

func (n *Node) awaitReady(ctx context.Context) error {
	return env.Await(ctx, "the node is ready", func() (bool, error) {
		var node corev1.Node
		if err := n.Cluster.Get(ctx, client.ObjectKey{Name: nodeName}, &node); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
}
