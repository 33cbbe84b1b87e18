package demand

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxRequests is how many Secrets a pod may ask for.
const maxRequests = 64

// FromPod lists what a pod asks for by the Secrets that its volumes and its containers'
// environments name, each once and in the order of their names. The files of a Secret are made
// for being mounted at mountPath; what in the pod will not work is noted, unless it runs already.
//
// A pod gets 64 Secrets at most: the first that are named by its volumes, in their order, and then
// by the environments of its init containers, containers and ephemeral containers. The result is
// bounded by a constant, and the work by the size of the pod.
func FromPod(pod *corev1.Pod, mountPath string) []Demand {
	r := requests{bySecret: map[string]*Demand{}}
	inspects := pod.Status.Phase == corev1.PodPending || pod.Status.Phase == ""
	placements := r.addVolumes(pod.Spec.Volumes)
	if inspects {
		inspect(pod, placements, mountPath)
	}
	for container := range containers(pod) {
		for secret := range fromEnvironment(container) {
			if d := r.add(secret); d != nil && inspects {
				inEnvironment(d, container.Name)
			}
		}
	}
	if inspects {
		r.warnOfCap()
	}
	return r.sorted()
}

// requests collects what one pod asks for.
type requests struct {
	bySecret map[string]*Demand
	first    *Demand
	// leftOut is the first Secret beyond maxRequests.
	leftOut string
}

// add returns what the pod asks for by a Secret's name; nil for Secrets that ask for no role, and
// beyond maxRequests. A name that no Secret can have is cut.
func (r *requests) add(secret string) *Demand {
	if !asks(secret) {
		return nil
	}
	secret = shorten(secret, maxSecretName)
	if d := r.bySecret[secret]; d != nil {
		return d
	}
	if len(r.bySecret) == maxRequests {
		r.leftOut = cmp.Or(r.leftOut, secret)
		return nil
	}
	secret = strings.Clone(secret) // and not the pod that it is a part of
	d := &Demand{Secret: secret, Role: secret[len(SecretPrefix):]}
	r.bySecret[secret] = d
	r.first = cmp.Or(r.first, d)
	return d
}

// addVolumes adds the Secrets of volumes, and returns each once for each volume.
func (r *requests) addVolumes(volumes []corev1.Volume) []*placement {
	type key struct{ volume, secret string }
	var placements []*placement
	byKey := map[key]*placement{}
	for i := range volumes {
		for source := range projections(&volumes[i]) {
			d := r.add(source.secret)
			if d == nil {
				continue
			}
			k := key{source.volume, d.Secret}
			p := byKey[k]
			if p == nil {
				p = &placement{volume: source.volume, demand: d, optional: true}
				byKey[k] = p
				placements = append(placements, p)
			}
			p.add(&source)
		}
	}
	return placements
}

// warnOfCap notes, with the first Secret, that the pod asks for too many.
func (r *requests) warnOfCap() {
	if r.leftOut == "" {
		return
	}
	r.first.Findings = r.first.Findings[:min(len(r.first.Findings), maxFindings-1)]
	r.first.warn(TooManySecrets, fmt.Sprintf("the pod names more than %d Secrets of roles: it gets those that its volumes and then its environments name first, and neither %s nor what comes after it; "+
		"split the pod", maxRequests, quote(r.leftOut)))
}

// sorted returns what was collected in the order of the Secrets' names.
func (r *requests) sorted() []Demand {
	demands := make([]Demand, 0, len(r.bySecret))
	for _, d := range r.bySecret {
		demands = append(demands, *d)
	}
	slices.SortFunc(demands, func(a, b Demand) int { return cmp.Compare(a.Secret, b.Secret) })
	return demands
}

// Wants tells whether a pod wants anything, at a small part of the cost of FromPod. Most pods of a cluster want nothing.
func Wants(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		for p := range projections(&pod.Spec.Volumes[i]) {
			if asks(p.secret) {
				return true
			}
		}
	}
	for container := range containers(pod) {
		for secret := range fromEnvironment(container) {
			if asks(secret) {
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
