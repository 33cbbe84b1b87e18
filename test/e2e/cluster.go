package e2e

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	ststest "kube-aws-iam-controller/test/sts"
)

// Cluster is a Kubernetes cluster with nodes, and the STS double where its pods reach it.
type Cluster interface {
	// Access returns what tests use it by.
	Access() Access
	// Output returns the lines that the program in a pod has printed to its standard output.
	Output(ctx context.Context, pod *corev1.Pod) ([]string, error)
	// HasCredentials reports whether a pod sees the credentials of a session in its files.
	HasCredentials(pod *corev1.Pod, session *ststest.Session) bool
	// CopyLogs copies what pods have printed into a folder, over older copies, as
	// <namespace>_<pod>_<uid>/<container>/<number>.log.
	CopyLogs(ctx context.Context, folder string) error
	// Stop ends the cluster, or deletes what tests have created in it.
	Stop(ctx context.Context) error
}

// Access is what tests use a cluster by.
type Access struct {
	// Kubeconfig is the administrator's.
	Kubeconfig string
	// Manifests is the folder of the kustomization that deploys the controller.
	Manifests string
	// Injection is that of the kustomization that has the API server inject pods, "" for none.
	Injection string
	STS       *ststest.Server
	// Programs are those that pods of this cluster can run.
	Programs []program
	// Session is how long sessions last during faults.
	Session time.Duration
}

const (
	// namespace is where pods of tests run; namespace.yaml names it, too.
	namespace      = "trial"
	kubeSystem     = "kube-system"
	controllerName = "kube-aws-iam-controller"
)
