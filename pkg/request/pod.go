package request

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// maxRequests limits the Requests of one pod.
const maxRequests = 64

// FromPod returns the Requests of a pod, sorted by Secret. They come from the Secrets that its
// volumes and its containers' environments reference. Until the pod runs, FromPod also adds
// Warnings; mountPath is the directory in which credentials.process looks for credentials.json.
//
// A pod has at most 64 Requests: the first that its volumes reference, in their order, followed by
// the environments of its init containers, containers and ephemeral containers. One more says that
// the pod LacksInjection. So the size of the result is bounded by a constant, and the work is
// linear in the size of the pod.
func FromPod(pod *corev1.Pod, mountPath string) []Request {
	c := collector{serviceAccount: ServiceAccountName(pod), bySecret: map[string]*Request{}}
	pending := pod.Status.Phase == corev1.PodPending || pod.Status.Phase == ""
	secrets := c.addVolumes(pod.Spec.Volumes)
	inspected := pending && !isWindows(pod)
	for container := range containers(pod) {
		for secret := range environmentSecrets(container) {
			c.add(secret)
		}
	}
	if inspected {
		c.warnAboutKeys(pod) // first, as it keeps the pod from starting
		warnAboutVolumes(pod, secrets, mountPath)
		c.warnAboutEnvironments(pod)
	}
	if pending {
		c.warnAboutPod(pod)
		c.warnAboutLimit()
	}
	if r := missing(pod); r != nil {
		c.bySecret[r.Secret] = r
	}
	return c.sorted()
}

// ServiceAccountName returns the name of a pod's ServiceAccount.
func ServiceAccountName(pod *corev1.Pod) string {
	return cmp.Or(pod.Spec.ServiceAccountName, "default")
}

// collector collects the Requests of one pod.
type collector struct {
	// serviceAccount is the pod's.
	serviceAccount string

	bySecret map[string]*Request
	first    *Request
	// leftOut is the first Secret beyond maxRequests.
	leftOut string
}

// add returns the Request for a Secret, which it adds if it is new. It returns nil if a reference
// to the Secret is no request, or exceeds maxRequests. A name that is too long for a Secret is cut.
func (c *collector) add(secret string) *Request {
	if !isRequest(secret) {
		return nil
	}
	written := secret
	secret = shorten(secret, maxSecretName)
	if r := c.bySecret[secret]; r != nil {
		return r
	}
	if len(c.bySecret) == maxRequests {
		c.leftOut = cmp.Or(c.leftOut, secret)
		return nil
	}
	secret = strings.Clone(secret) // so that the Request does not keep the pod in memory
	r := &Request{Secret: secret, Role: roleOf(secret)}
	r.checkServiceAccount(written, c.serviceAccount)
	c.bySecret[secret] = r
	c.first = cmp.Or(c.first, r)
	return r
}

// addVolumes adds the Secrets of all volumes. It returns each pair of a volume and a Secret once.
func (c *collector) addVolumes(volumes []corev1.Volume) []*volumeSecret {
	type key struct{ volume, secret string }
	var all []*volumeSecret
	byKey := map[key]*volumeSecret{}
	for i := range volumes {
		for source := range projections(&volumes[i]) {
			r := c.add(source.secret)
			if r == nil {
				continue
			}
			k := key{source.volume, r.Secret}
			s := byKey[k]
			if s == nil {
				s = &volumeSecret{volume: source.volume, request: r, optional: true, mode: 0o777}
				byKey[k] = s
				all = append(all, s)
			}
			s.addSource(&source)
		}
	}
	return all
}

// The annotations of pods that kube2iam and kiam read and this controller does not.
var ignoredAnnotations = []string{"iam.amazonaws.com/external-id", "iam.amazonaws.com/session-name"}

// warnAboutPod adds to the first Request, if any, warnings that are not about one Secret.
func (c *collector) warnAboutPod(pod *corev1.Pod) {
	if c.first == nil {
		return
	}
	if isWindows(pod) {
		c.first.warn(WindowsNotSupported, "the pod mounts Secret %s and runs on Windows, which is not supported: %s", quoted(c.first.Secret), windowsAdvice)
	}
	for _, annotation := range ignoredAnnotations {
		if pod.Annotations[annotation] != "" {
			c.first.warn(AnnotationIgnored, "the annotation %s has no effect: the session's name, and the ExternalId that --external-id sets, "+
				"are never the requester's own words; the trust policy of Secret %s's role must not require another one", annotation, quoted(c.first.Secret))
		}
	}
}

// warnAboutLimit adds a warning to the first Request if the pod references more than maxRequests
// Secrets. It takes the place of another warning if there are maxWarnings.
func (c *collector) warnAboutLimit() {
	if c.leftOut == "" {
		return
	}
	c.first.warnings = c.first.warnings[:min(len(c.first.warnings), maxWarnings-1)]
	c.first.warn(InvalidRole, "the pod names more than %d Secrets of roles: "+
		"it gets those that its volumes and then its environments name first, and neither %s nor those after it; "+
		"split the pod", maxRequests, quoted(c.leftOut))
}

// sorted returns the collected Requests, sorted by Secret.
func (c *collector) sorted() []Request {
	all := make([]Request, 0, len(c.bySecret))
	for _, secret := range slices.Sorted(maps.Keys(c.bySecret)) {
		all = append(all, *c.bySecret[secret])
	}
	return all
}

// HasRequests reports whether FromPod returns any Request, at a small part of its cost. Most pods
// of a cluster have none.
func HasRequests(pod *corev1.Pod) bool {
	for secret := range secrets(pod) {
		if isRequest(secret) {
			return true
		}
	}
	return LacksInjection(pod)
}

// secrets yields the Secrets that a pod references in volumes of Secrets and in environments, once
// for each reference.
func secrets(pod *corev1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range pod.Spec.Volumes {
			for p := range projections(&pod.Spec.Volumes[i]) {
				if !yield(p.secret) {
					return
				}
			}
		}
		for container := range containers(pod) {
			for secret := range environmentSecrets(container) {
				if !yield(secret) {
					return
				}
			}
		}
	}
}

// projection is one reference of a volume to a Secret.
type projection struct {
	volume   string
	secret   string
	items    []corev1.KeyToPath // if empty, every key is a file of its own name
	optional bool
	// defaultMode is the volume's, or nil.
	defaultMode *int32
}

// mode returns the bits that the modes of all files have.
func (p *projection) mode() int32 {
	byDefault := ptr.Deref(p.defaultMode, corev1.SecretVolumeSourceDefaultMode)
	if len(p.items) == 0 {
		return byDefault
	}
	mode := int32(0o777)
	for i := range p.items {
		mode &= ptr.Deref(p.items[i].Mode, byDefault)
	}
	return mode
}

// projections yields the references of a volume to Secrets: one of a Secret volume, any number of a
// projected volume.
func projections(v *corev1.Volume) iter.Seq[projection] {
	return func(yield func(projection) bool) {
		if s := v.Secret; s != nil {
			yield(projection{v.Name, s.SecretName, s.Items, ptr.Deref(s.Optional, false), s.DefaultMode})
			return
		}
		if v.Projected == nil {
			return
		}
		for i := range v.Projected.Sources {
			s := v.Projected.Sources[i].Secret
			if s != nil && !yield(projection{v.Name, s.Name, s.Items, ptr.Deref(s.Optional, false), v.Projected.DefaultMode}) {
				return
			}
		}
	}
}

// containers yields all containers of a pod: init containers, containers and ephemeral containers.
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

// environmentSecrets yields the Secrets that a container's environment references, once for each
// reference.
func environmentSecrets(c *corev1.Container) iter.Seq[string] {
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
