package diagnosis

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// workload returns what a pod was made from, as kubectl names it: its Deployment, StatefulSet or
// DaemonSet, another owner, or the pod itself.
func workload(pod *corev1.Pod) (kind, name string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "pod", pod.Name
	}
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if deployment, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && owner.Kind == "ReplicaSet" && hash != "" {
		return "deployment", deployment
	}
	return strings.ToLower(owner.Kind), owner.Name
}

// restart returns the command that has a pod created again.
func restart(pod *corev1.Pod) string {
	switch kind, name := workload(pod); kind {
	case "deployment", "statefulset", "daemonset":
		return fmt.Sprintf("kubectl rollout restart %s --namespace %s %s", kind, pod.Namespace, name)
	default:
		return fmt.Sprintf("kubectl delete pod --namespace %s %s", pod.Namespace, pod.Name)
	}
}

// isFinished reports whether all containers of a pod have ended for good.
func isFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
