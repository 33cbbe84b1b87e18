package demand

import (
	"cmp"
	"maps"
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
		for _, p := range projections(&pod.Spec.Volumes[i]) {
			if d := want(p.secret); d != nil {
				d.Findings = append(d.Findings, inspectVolume(pod, p, mountPath)...)
			}
		}
	}
	for container := range containers(pod) {
		for _, secret := range fromEnvironment(container) {
			if d := want(secret); d != nil {
				d.Findings = append(d.Findings, inEnvironment(container.Name, secret))
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
		for _, p := range projections(&pod.Spec.Volumes[i]) {
			if strings.HasPrefix(p.secret, SecretPrefix) {
				return true
			}
		}
	}
	for container := range containers(pod) {
		for _, secret := range fromEnvironment(container) {
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

// projections are the Secrets in a volume: one in a Secret's volume, any number in a projected one.
func projections(v *corev1.Volume) []projection {
	switch {
	case v.Secret != nil:
		return []projection{{v.Name, v.Secret.SecretName, v.Secret.Items, isTrue(v.Secret.Optional)}}
	case v.Projected != nil:
		var all []projection
		for _, source := range v.Projected.Sources {
			if s := source.Secret; s != nil {
				all = append(all, projection{v.Name, s.Name, s.Items, isTrue(s.Optional)})
			}
		}
		return all
	}
	return nil
}

// containers yields every container of a pod, whatever its kind, as far as environment and mounts go.
func containers(pod *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			if !yield(&c) {
				return
			}
		}
	}
}

// fromEnvironment names the Secrets that a container reads into environment variables, each once, in the order of their names.
func fromEnvironment(c *corev1.Container) []string {
	var names map[string]bool
	add := func(name string) {
		if names == nil {
			names = map[string]bool{}
		}
		names[name] = true
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.SecretKeyRef != nil {
			add(from.SecretKeyRef.Name)
		}
	}
	for i := range c.EnvFrom {
		if ref := c.EnvFrom[i].SecretRef; ref != nil {
			add(ref.Name)
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func isTrue(b *bool) bool { return b != nil && *b }
