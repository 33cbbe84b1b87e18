package demand

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// FromPod lists what a pod wants, by the Secrets that its volumes and its containers' environments name, each once and in the order
// of their names. The files of a Secret are made for being mounted at mountPath.
func FromPod(pod *corev1.Pod, mountPath string) []Demand {
	found := map[string]*Demand{}
	want := func(secret string) *Demand {
		role, ok := strings.CutPrefix(secret, SecretPrefix)
		if !ok {
			return nil
		}
		if found[secret] == nil {
			found[secret] = &Demand{Secret: secret, Role: role}
		}
		return found[secret]
	}

	for i := range pod.Spec.Volumes {
		for p := range projections(&pod.Spec.Volumes[i]) {
			if d := want(p.secret); d != nil {
				d.Findings = append(d.Findings, inspectVolume(pod, p, mountPath)...)
			}
		}
	}
	for container := range containers(pod) {
		for secret := range fromEnvironment(container) {
			if d := want(secret); d != nil {
				d.find(inEnvironment(container.Name, secret))
			}
		}
	}

	demands := make([]Demand, 0, len(found))
	for _, d := range found {
		demands = append(demands, *d)
	}
	slices.SortFunc(demands, func(a, b Demand) int { return cmp.Compare(a.Secret, b.Secret) })
	return demands
}

// Wants tells whether a pod wants anything, at a small part of the cost of FromPod. Most pods of a cluster want nothing.
func Wants(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		for p := range projections(&pod.Spec.Volumes[i]) {
			if strings.HasPrefix(p.secret, SecretPrefix) {
				return true
			}
		}
	}
	for container := range containers(pod) {
		for secret := range fromEnvironment(container) {
			if strings.HasPrefix(secret, SecretPrefix) {
				return true
			}
		}
	}
	return false
}

// projection is one Secret as it appears in one volume.
type projection struct {
	volume   string
	secret   string
	items    []corev1.KeyToPath // none: every key under its own name
	optional bool
}

// projections yields the Secrets in a volume: one in a Secret's volume, any number in a projected one.
func projections(v *corev1.Volume) iter.Seq[projection] {
	return func(yield func(projection) bool) {
		if s := v.Secret; s != nil {
			yield(projection{v.Name, s.SecretName, s.Items, isTrue(s.Optional)})
			return
		}
		if v.Projected == nil {
			return
		}
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil && !yield(projection{v.Name, s.Name, s.Items, isTrue(s.Optional)}) {
				return
			}
		}
	}
}

// containers yields every container of a pod, whatever its kind, as far as environment and mounts go.
func containers(pod *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			if !yield((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// fromEnvironment yields the Secrets that a container reads into environment variables, each as often as it does.
func fromEnvironment(c *corev1.Container) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range c.Env {
			if from := c.Env[i].ValueFrom; from != nil && from.SecretKeyRef != nil && !yield(from.SecretKeyRef.Name) {
				return
			}
		}
		for i := range c.EnvFrom {
			if ref := c.EnvFrom[i].SecretRef; ref != nil && !yield(ref.Name) {
				return
			}
		}
	}
}

func isTrue(b *bool) bool { return b != nil && *b }
