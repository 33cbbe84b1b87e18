//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	nodeName = "e2e"
	// The API server listens at the very address of the Service kubernetes, so that pods reach it without kube-proxy.
	services   = "10.96.0.0/24"
	apiAddress = "10.96.0.1"
	// The bridge of all pods is the node's address, and that of the STS double; deploy/ names it, too.
	pods        = "10.88.0.0/16"
	nodeAddress = "10.88.0.1"

	namespace      = "trial"
	kubeSystem     = "kube-system"
	controllerName = "kube-aws-iam-controller"
	userKeys       = controllerName + "-user-keys"
	credentialsKey = "credentials"
	stsLatency     = 30 * time.Millisecond

	// startTimeout is how long etcd and the API server may take each; envtest waits for both in
	// this order. Its own 20 s are too few for a busy machine.
	startTimeout = "5m"
)

// cluster is a cluster of one node, with the controller deployed on it.
type cluster struct {
	*sandbox.Sandbox
	options
	admin   string // kubeconfig
	daemons []*daemon
	fail    context.CancelCauseFunc
	fleet   *fleet // nil until it is wanted
	tables  []*table
	// compacted is the revision of etcd before which it knows nothing.
	compacted json.Number
}

// up brings everything up, and says how long each part took.
func (c *cluster) up(ctx context.Context) error {
	log.SetLogger(logr.Discard())
	if err := errors.Join(sandbox.Isolate(dir), os.Setenv("KUBEBUILDER_ASSETS", c.assets), os.Setenv("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", startTimeout),
		os.RemoveAll(c.logs), os.MkdirAll(c.logs, 0o755)); err != nil { //nolint:gosec // logs are for everybody
		return err
	}
	title("Bringing up a cluster")
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"a network", c.network},
		{"etcd, the API server and the STS double", c.controlPlane},
		{"controller manager, scheduler, containerd and kubelet", c.node},
		{"images", c.images},
		{"the node is ready", c.nodeReady},
		{"the controller is deployed", c.deploy},
		{"the controller is ready and leads", c.controllerReady},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%6.1f s  %s\n", time.Since(began).Seconds(), step.name)
	}
	return nil
}

func (c *cluster) network(ctx context.Context) error {
	for _, args := range []string{
		"link set lo up",
		"address add " + apiAddress + "/32 dev lo",
		"link add cni0 type bridge",
		"address add " + nodeAddress + "/16 dev cni0",
		"link set cni0 address 02:00:00:00:00:01 up", // else it changes with the pods, and packets to it get lost
	} {
		if err := c.command(ctx, "ip", strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) controlPlane(context.Context) (err error) {
	c.Sandbox, err = sandbox.StartAt(dir, net.JoinHostPort(apiAddress, "443"), net.JoinHostPort(nodeAddress, "80"), map[string]string{
		"service-cluster-ip-range":  services,
		"authorization-mode":        "Node,RBAC",
		"enable-admission-plugins":  "NodeRestriction",
		"disable-admission-plugins": "",
	})
	if err != nil {
		return err
	}
	c.STS.SetLatency(stsLatency)
	c.admin, err = c.Kubeconfig("admin", "system:masters")
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "ca.crt"), c.Admin.CAData, 0o600))
}

// node starts what makes a cluster of an API server, each after what it needs answers: most of
// these programs end if it does not. That all of it works is seen by the node's readiness.
func (c *cluster) node(ctx context.Context) error {
	if err := c.writeConfigs(); err != nil {
		return err
	}
	if err := c.daemon("containerd", "containerd", "--config="+filepath.Join(dir, "containerd.toml")); err != nil {
		return err
	}
	if err := sandbox.Await(ctx, "the API server is ready", func() (bool, error) { // with the roles and namespaces that it makes when it has started
		return c.kubectl(ctx, "get", "--raw=/readyz", "--request-timeout="+probeTimeout.String()) == nil, nil
	}); err != nil {
		return err
	}
	if err := c.startAs(kubeScheduler, "system:kube-scheduler", "", "--leader-elect=false"); err != nil {
		return err
	}
	if err := c.startAs(kubeControllerManager, "system:kube-controller-manager", "", "--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file="+filepath.Join(c.API.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"),
		"--root-ca-file="+filepath.Join(dir, "ca.crt")); err != nil {
		return err
	}
	if err := sandbox.Await(ctx, "containerd answers the kubelet's calls", containerdReady(ctx)); err != nil {
		return err
	}
	return c.startAs(kubelet, "system:node:"+nodeName, "system:nodes", "--config="+filepath.Join(dir, "kubelet.yaml"), "--hostname-override="+nodeName,
		"--node-ip="+nodeAddress, "--root-dir="+kubeletDir, "--cert-dir="+filepath.Join(dir, "pki"))
}

// startAs starts a program of Kubernetes as a user of the API server, who may be in a group.
func (c *cluster) startAs(program, user, group string, args ...string) error {
	var groups []string
	if group != "" {
		groups = []string{group}
	}
	kubeconfig, err := c.Kubeconfig(user, groups...)
	if err != nil {
		return err
	}
	return c.daemon(program, filepath.Join(c.assets, program), append(args, "--kubeconfig="+kubeconfig)...)
}

// images brings the controller's image onto the node as the README says, and one for all other pods.
func (c *cluster) images(ctx context.Context) error {
	toolbox := filepath.Join(dir, "toolbox.tar")
	if err := writeToolbox(toolbox, c.busybox); err != nil {
		return err
	}
	for _, archive := range []string{toolbox, c.image, c.clockImage} {
		if err := c.command(ctx, "ctr", "-n", "k8s.io", "images", "import", archive); err != nil {
			return err
		}
	}
	return os.Remove(toolbox)
}

func (c *cluster) nodeReady(ctx context.Context) error {
	return sandbox.Await(ctx, "the node is ready", func() (bool, error) {
		var n corev1.Node
		if err := c.Cluster.Get(ctx, client.ObjectKey{Name: nodeName}, &n); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
}

// deploy does what a user does: manifests, and the controller's AWS identity.
func (c *cluster) deploy(ctx context.Context) error {
	keys := c.STS.AddUser(sandbox.Account, controllerName)
	secret := corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubeSystem, Name: userKeys},
		StringData: map[string]string{credentialsKey: credentialsFile(keys.AccessKeyID, keys.SecretAccessKey)},
	}
	if err := c.Cluster.Create(ctx, &secret); err != nil {
		return err
	}
	for _, manifests := range []string{"-k=hack/e2e/deploy", "-f=hack/e2e/namespace.yaml"} {
		if err := c.apply(ctx, manifests); err != nil {
			return err
		}
	}
	return sandbox.Await(ctx, "the ServiceAccount of pods is there", func() (bool, error) {
		err := c.Cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	})
}

// credentialsFile is what the Secret userKeys holds, at credentialsKey.
func credentialsFile(accessKeyID, secretAccessKey string) string {
	return "[default]\naws_access_key_id = " + accessKeyID + "\naws_secret_access_key = " + secretAccessKey + "\n"
}

func (c *cluster) apply(ctx context.Context, manifests string) error {
	return c.kubectl(ctx, "apply", "--server-side", manifests)
}

func (c *cluster) controllerReady(ctx context.Context) error {
	return sandbox.Await(ctx, "both replicas are ready and one leads", func() (bool, error) { return c.controllerLeads(ctx) })
}

// controllerLeads tells whether every replica of the controller is as it was last wanted, and one of them leads.
func (c *cluster) controllerLeads(ctx context.Context) (bool, error) {
	var d appsv1.Deployment
	running, err := c.replicas(ctx)
	if err := errors.Join(err, c.Cluster.Get(ctx, client.ObjectKey{Namespace: kubeSystem, Name: controllerName}, &d)); err != nil {
		return false, err
	}
	wanted, is := *d.Spec.Replicas, d.Status
	if is.ObservedGeneration != d.Generation || is.UpdatedReplicas != wanted || is.ReadyReplicas != wanted || len(running) != int(wanted) {
		return false, nil
	}
	_, err = c.leader(ctx)
	return err == nil, client.IgnoreNotFound(err)
}

// controllerPods selects the controller's pods.
var controllerPods = client.MatchingLabels{"application": controllerName}

// replicas are the controller's pods, those that are about to end, too.
func (c *cluster) replicas(ctx context.Context) ([]corev1.Pod, error) {
	var running corev1.PodList
	err := c.Cluster.List(ctx, &running, client.InNamespace(kubeSystem), controllerPods)
	return running.Items, err
}

// leader is the pod of the replica that leads; if there is none, it is not found.
func (c *cluster) leader(ctx context.Context) (*corev1.Pod, error) {
	var lease coordinationv1.Lease
	if err := c.Cluster.Get(ctx, client.ObjectKey{Namespace: kubeSystem, Name: controllerName}, &lease); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if name == "" {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), controllerName)
	}
	var pod corev1.Pod
	return &pod, c.Cluster.Get(ctx, client.ObjectKey{Namespace: kubeSystem, Name: name}, &pod)
}
