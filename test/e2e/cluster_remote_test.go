//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ststest "kube-aws-iam-controller/test/sts"
)

// remoteCluster is one that is there already, such as kind's.
type remoteCluster struct {
	access Access
	client kubernetes.Interface
	// kubectl runs kubectl as the administrator.
	kubectl func(ctx context.Context, args ...string) error
}

// startRemote starts the STS double for a remote cluster. It returns an error if the cluster has
// the controller already, which is not the tests' own.
func (e *testEnv) startRemote() error {
	existing, err := newClient(e.remote.kubeconfig)
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: kubeSystem, Name: controllerName}
	switch err := existing.Get(e.ctx, key, &appsv1.Deployment{}); {
	case err == nil:
		return fmt.Errorf("the cluster has Deployment %s already", key)
	case client.IgnoreNotFound(err) != nil:
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", e.remote.kubeconfig)
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	double, err := ststest.Listen(e.remote.stsAddress)
	if err != nil {
		return err
	}
	manifests := filepath.Join(e.logs, "manifests")
	e.cluster = &remoteCluster{client: clientset, kubectl: e.kubectl, access: Access{
		Kubeconfig: e.remote.kubeconfig, Manifests: manifests, STS: double,
		Programs: []program{remoteProgram(e.remote.program)}, Session: e.remote.session,
	}}
	return errors.Join(os.RemoveAll(e.logs), e.remote.writeManifests(manifests, e.manifests, double.URL))
}

// Access implements Cluster.
func (c *remoteCluster) Access() Access { return c.access }

// Output implements Cluster. It returns nothing before the pod has started.
func (c *remoteCluster) Output(ctx context.Context, pod *corev1.Pod) ([]string, error) {
	if pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "" {
		return nil, nil
	}
	text, err := c.readLog(ctx, pod)
	return outputLines(string(text)), err
}

func (c *remoteCluster) readLog(ctx context.Context, pod *corev1.Pod) ([]byte, error) {
	options := corev1.PodLogOptions{Container: pod.Spec.Containers[0].Name}
	return c.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &options).DoRaw(ctx)
}

// HasCredentials implements Cluster: it relies on the kubelet's delay, as it cannot see its files.
func (*remoteCluster) HasCredentials(_ *corev1.Pod, session *ststest.Session) bool {
	return deliveredBy(session, time.Now())
}

// CopyLogs implements Cluster, for the controller's pods and those of tests.
func (c *remoteCluster) CopyLogs(ctx context.Context, folder string) error {
	cluster, err := newClient(c.access.Kubeconfig)
	if err != nil {
		return err
	}
	var controllers, callers corev1.PodList
	if err := errors.Join(cluster.List(ctx, &controllers, client.InNamespace(kubeSystem), controllerPods),
		cluster.List(ctx, &callers, client.InNamespace(namespace))); err != nil {
		return err
	}
	var failures []error
	pods := slices.Concat(controllers.Items, callers.Items)
	for i := range pods {
		failures = append(failures, c.copyLog(ctx, folder, &pods[i]))
	}
	return errors.Join(failures...)
}

func (c *remoteCluster) copyLog(ctx context.Context, folder string, pod *corev1.Pod) error {
	statuses := pod.Status.ContainerStatuses
	if pod.Status.Phase == corev1.PodPending || len(statuses) == 0 {
		return nil // there is none yet
	}
	text, err := c.readLog(ctx, pod)
	if err != nil {
		return err
	}
	folder = filepath.Join(folder, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID), pod.Spec.Containers[0].Name)
	file := filepath.Join(folder, strconv.Itoa(int(statuses[0].RestartCount))+".log")
	return errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(file, text, 0o600))
}

// Stop implements Cluster: it deletes what tests have created.
func (c *remoteCluster) Stop(ctx context.Context) error {
	c.access.STS.Close()
	return errors.Join(
		c.kubectl(ctx, "delete", "--ignore-not-found", "namespace", namespace),
		c.kubectl(ctx, "delete", "--ignore-not-found", "-k="+c.access.Manifests),
		c.kubectl(ctx, "delete", "--ignore-not-found", "--namespace="+kubeSystem, "secret", secretKeys),
	)
}
