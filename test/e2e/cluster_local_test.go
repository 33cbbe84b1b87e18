//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/e2e/node"
	ststest "kube-aws-iam-controller/test/sts"
)

// localSession is how long sessions last on the local node: a second of it stands for a minute of
// the hour that they last elsewhere. So the kubelet is sped up.
const localSession = time.Minute

// localCluster is the node of package node.
type localCluster struct {
	node   *node.Node
	access Access
}

func (e *testEnv) startLocal() error {
	programs, err := readPrograms(e.sdks, images{toolbox: node.Toolbox, bare: node.Bare})
	if err != nil {
		return err
	}
	n, err := node.Start(e.ctx, e.fail, node.Config{
		Assets: e.assets, Busybox: e.busybox, Images: []string{e.imageArchive, e.clockArchive}, Logs: e.logs,
	})
	if err != nil {
		n.Kill()
		return err
	}
	e.cluster = &localCluster{node: n, access: Access{
		Kubeconfig: n.Kubeconfig, Manifests: e.manifests, Injection: e.manifests + "-injection", STS: n.STS, Programs: programs, Session: localSession,
	}}
	return nil
}

// Access implements Cluster.
func (c *localCluster) Access() Access { return c.access }

// Output implements Cluster. It reads the kubelet's file, as the API server can be away.
func (*localCluster) Output(_ context.Context, pod *corev1.Pod) ([]string, error) {
	log, err := readLines(node.PodLog(pod))
	return stdoutLines(log), err
}

// HasCredentials implements Cluster.
func (*localCluster) HasCredentials(pod *corev1.Pod, session *ststest.Session) bool {
	text, err := os.ReadFile(node.SecretFile(pod, volumeName, keys.Credentials))
	return err == nil && session.AccessKeyID != "" && strings.Contains(string(text), session.AccessKeyID)
}

// CopyLogs implements Cluster.
func (*localCluster) CopyLogs(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // logs are for every user
		return err
	}
	out, err := exec.CommandContext(ctx, "cp", "--recursive", node.PodLogs()+"/.", folder).CombinedOutput() //nolint:gosec // its own
	if err != nil {
		return fmt.Errorf("copying logs: %w: %s", err, out)
	}
	return nil
}

// Stop implements Cluster.
func (c *localCluster) Stop(context.Context) error {
	c.node.Kill()
	return nil
}
