package request

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReducePod drops from a pod everything that does not matter for which Secrets it asks for, which
// is most of it, to save memory. FromPod returns the same for the reduced pod.
func ReducePod(pod *corev1.Pod) {
	windows := isWindows(pod)
	maps.DeleteFunc(pod.Labels, func(label, _ string) bool { return label != InjectLabel })
	maps.DeleteFunc(pod.Annotations, func(annotation, _ string) bool {
		return annotation != RoleAnnotation && annotation != corev1.MirrorPodAnnotationKey && !slices.Contains(ignoredAnnotations, annotation)
	})
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		Labels: pod.Labels, Annotations: pod.Annotations,
	}
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
	pod.Spec = corev1.PodSpec{
		ServiceAccountName:  pod.Spec.ServiceAccountName,
		Volumes:             reduceVolumes(pod.Spec.Volumes),
		InitContainers:      pod.Spec.InitContainers,
		Containers:          pod.Spec.Containers,
		EphemeralContainers: pod.Spec.EphemeralContainers,
		SecurityContext:     pod.Spec.SecurityContext,
	}
	if windows {
		pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	}
	for c := range containers(pod) {
		env := slices.Clone(slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool {
			asks := v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil && isRequest(v.ValueFrom.SecretKeyRef.Name)
			return !asks && !decidesCredentials(v.Name)
		}))
		*c = corev1.Container{Name: c.Name, Env: env, EnvFrom: c.EnvFrom, VolumeMounts: c.VolumeMounts, SecurityContext: c.SecurityContext}
	}
}

// reduceVolumes returns the volumes with Secrets that ask for roles, without their other sources.
func reduceVolumes(all []corev1.Volume) []corev1.Volume {
	var kept []corev1.Volume
	for i := range all {
		v := corev1.Volume{Name: all[i].Name}
		switch secret, projected := all[i].Secret, all[i].Projected; {
		case secret != nil && isRequest(secret.SecretName):
			v.Secret = secret
		case secret == nil && projected != nil:
			sources := slices.DeleteFunc(projected.Sources, func(s corev1.VolumeProjection) bool {
				return s.Secret == nil || !isRequest(s.Secret.Name)
			})
			v.Projected = &corev1.ProjectedVolumeSource{Sources: slices.Clone(sources), DefaultMode: projected.DefaultMode}
		default:
			continue
		}
		kept = append(kept, v)
	}
	return kept
}

// isRequest reports whether a reference to a Secret of this name asks for a role.
func isRequest(secret string) bool {
	return strings.HasPrefix(secret, SecretPrefix) || strings.HasPrefix(secret, EscapedPrefix) || IsOfServiceAccount(secret)
}
