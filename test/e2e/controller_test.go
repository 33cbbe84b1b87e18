//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/env"
)

const (
	// secretKeys is the Secret with the keys of the controller's AWS user, at credentialsKey.
	secretKeys     = controllerName + "-user-keys"
	credentialsKey = "credentials"
)

// credentialsFile returns what the Secret secretKeys holds.
func credentialsFile(accessKeyID, secretAccessKey string) string {
	return "[default]\naws_access_key_id = " + accessKeyID + "\naws_secret_access_key = " + secretAccessKey + "\n"
}

// stsLatency is how long a call takes, as it does within a Region.
const stsLatency = 30 * time.Millisecond

// deploy applies the controller's manifests as a user does, and gives it an AWS user's keys.
func (e *testEnv) deploy() error {
	keys := e.STS.AddUser(env.Account, controllerName)
	secret := corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubeSystem, Name: secretKeys},
		StringData: map[string]string{credentialsKey: credentialsFile(keys.AccessKeyID, keys.SecretAccessKey)},
	}
	if err := e.client.Create(e.ctx, &secret); err != nil {
		return err
	}
	manifests := []string{"-k=" + e.Manifests, "-f=" + filepath.Join(filepath.Dir(e.manifests), "namespace.yaml")}
	if e.Injection != "" {
		manifests = append(manifests, "-k="+e.Injection)
	}
	for _, argument := range manifests {
		if err := e.apply(argument); err != nil {
			return err
		}
	}
	if err := env.Await(e.ctx, "the ServiceAccount of pods exists", func() (bool, error) {
		err := e.client.Get(e.ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	}); err != nil {
		return err
	}
	if err := e.awaitInjection(); err != nil {
		return err
	}
	return e.awaitController()
}

func (e *testEnv) apply(manifests string) error {
	return e.kubectl(e.ctx, "apply", "--server-side", manifests)
}

// kubectl runs kubectl as the administrator. Its output is in the error.
func (e *testEnv) kubectl(ctx context.Context, args ...string) error {
	out, err := e.kubectlOutput(ctx, args...)
	if err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (e *testEnv) kubectlOutput(ctx context.Context, args ...string) ([]byte, error) {
	kubectl := filepath.Join(e.assets, "kubectl")
	if _, err := os.Stat(kubectl); err != nil {
		kubectl = "kubectl"
	}
	args = append([]string{"--kubeconfig=" + e.cluster.Access().Kubeconfig}, args...)
	return exec.CommandContext(ctx, kubectl, args...).CombinedOutput() //nolint:gosec // the tests' own
}

func (e *testEnv) awaitController() error {
	return env.Await(e.ctx, "both replicas are ready and one leads", e.controllerLeads)
}

// controllerLeads reports whether every replica runs the Deployment's current template, and one of
// them leads.
func (e *testEnv) controllerLeads() (bool, error) {
	var d appsv1.Deployment
	pods, err := e.listControllerPods()
	if err := errors.Join(err, e.client.Get(e.ctx, client.ObjectKey{Namespace: kubeSystem, Name: controllerName}, &d)); err != nil {
		return false, err
	}
	replicas, status := *d.Spec.Replicas, d.Status
	if status.ObservedGeneration != d.Generation || status.UpdatedReplicas != replicas || status.ReadyReplicas != replicas ||
		len(pods) != int(replicas) {
		return false, nil
	}
	_, err = e.getLeader()
	return err == nil, client.IgnoreNotFound(err)
}

// controllerPods selects the controller's pods.
var controllerPods = client.MatchingLabels{"application": controllerName}

// listControllerPods returns the controller's pods, terminating ones included.
func (e *testEnv) listControllerPods() ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := e.client.List(e.ctx, &pods, client.InNamespace(kubeSystem), controllerPods)
	return pods.Items, err
}

// getLeader returns the pod that holds the Lease, or a NotFound error if there is none.
func (e *testEnv) getLeader() (*corev1.Pod, error) {
	var lease coordinationv1.Lease
	if err := e.client.Get(e.ctx, client.ObjectKey{Namespace: kubeSystem, Name: controllerName}, &lease); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if name == "" {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), controllerName)
	}
	var pod corev1.Pod
	return &pod, e.client.Get(e.ctx, client.ObjectKey{Namespace: kubeSystem, Name: name}, &pod)
}

// countRestarts returns how often the kubelet has restarted the controller's containers.
func (e *testEnv) countRestarts() (restarts int32, err error) {
	pods, err := e.listControllerPods()
	for i := range pods {
		for _, status := range pods[i].Status.ContainerStatuses {
			restarts += status.RestartCount
		}
	}
	return restarts, err
}
