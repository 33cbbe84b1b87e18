package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/pkg/request"
)

const (
	// probeDeadline ends the pod, such as one whose image cannot be pulled.
	probeDeadline = time.Minute
	// probeWait is how long to wait for the pod, and probeInterval how often to look.
	probeWait     = probeDeadline + 30*time.Second
	probeInterval = 500 * time.Millisecond
)

// The exit codes of curl that say that nothing answered. Source: "EXIT CODES" in curl's manual.
const (
	curlCannotConnect = 7
	curlTimeout       = 28
)

// ReachesMetadata starts a pod in a namespace, which requests a token of the instance metadata as
// docs/bootstrap.md shows, and reports whether there is an answer. The image must have curl. The
// token does not leave the pod, which is deleted afterwards.
func (c *Cluster) ReachesMetadata(ctx context.Context, namespace, image string) diagnosis.Read[bool] {
	pods := c.Kubernetes.CoreV1().Pods(namespace)
	pod, err := pods.Create(ctx, metadataPod(image), metav1.CreateOptions{})
	if err != nil {
		return diagnosis.Read[bool]{Err: err}
	}
	defer func() {
		_ = pods.Delete(context.WithoutCancel(ctx), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}) // otherwise its deadline ends it
	}()
	err = wait.PollUntilContextTimeout(ctx, probeInterval, probeWait, true, func(ctx context.Context) (bool, error) {
		pod, err = pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed), err
	})
	if err != nil {
		return diagnosis.Read[bool]{Err: fmt.Errorf("the pod that tries it does not end: %w", err)}
	}
	return ended(pod)
}

// ended returns what a pod found out that has ended.
func ended(pod *corev1.Pod) diagnosis.Read[bool] {
	if pod.Status.Phase == corev1.PodSucceeded {
		return diagnosis.Read[bool]{Value: true}
	}
	for i := range pod.Status.ContainerStatuses {
		if end := pod.Status.ContainerStatuses[i].State.Terminated; end != nil {
			if end.ExitCode == curlCannotConnect || end.ExitCode == curlTimeout {
				return diagnosis.Read[bool]{}
			}
			return diagnosis.Read[bool]{Err: fmt.Errorf("curl ended with exit code %d in the pod that tries it", end.ExitCode)}
		}
	}
	return diagnosis.Read[bool]{Err: errors.New("the pod that tries it did not run: " + pod.Status.Message)}
}

// metadataPod returns the pod. It complies with the pod security level restricted.
func metadataPod(image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: settings.Name + "-metadata-", Labels: map[string]string{request.InjectLabel: "false"},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:        new(int64(probeDeadline.Seconds())),
			AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "curl", Image: image,
				Command: []string{
					"curl", "--silent", "--max-time", "3", "--output", "/dev/null", "--request", "PUT",
					"--header", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token",
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}
