package request

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// The bits of a file's mode that let its group and all others read it.
const groupRead, othersRead = 0o040, 0o004

// podSecurity is what the security context of a pod says about reading files.
type podSecurity struct {
	corev1.PodSecurityContext
	// inRootGroup reports whether the pod's supplemental groups contain the group 0.
	inRootGroup bool
}

func podSecurityOf(pod *corev1.Pod) *podSecurity {
	c := ptr.Deref(pod.Spec.SecurityContext, corev1.PodSecurityContext{})
	return &podSecurity{c, slices.Contains(c.SupplementalGroups, 0)}
}

// warnAboutPermissions adds a warning about each container with a mount of the volume whose user
// cannot read the files. The kubelet writes them as root:root or, with an fsGroup, as
// root:<fsGroup> and readable by the group. Source: SetVolumeOwnership in the kubelet's source.
func (s *volumeSecret) warnAboutPermissions(all []mounts, pod *podSecurity) {
	for i := range all {
		if m := &all[i]; pod.FSGroup == nil && !pod.canRead(m.security, s.mode) {
			s.request.warn(FileNotReadable, "container %s does not run as root and cannot read the files of Secret %s, whose mode is %#o: "+
				"remove defaultMode from volume %s, or set fsGroup in the pod's securityContext",
				quoted(m.container), quoted(s.request.Secret), s.mode, quoted(s.volume))
		}
	}
}

// canRead reports whether a container can, or may be able to, read a file of root:root with a mode.
// A container without a user has that of its image, and one without a group mostly the group 0.
func (p *podSecurity) canRead(container *corev1.SecurityContext, mode int32) bool {
	c := ptr.Deref(container, corev1.SecurityContext{})
	user, group := firstOf(c.RunAsUser, p.RunAsUser), firstOf(c.RunAsGroup, p.RunAsGroup)
	isRoot := !ptr.Deref(firstOf(c.RunAsNonRoot, p.RunAsNonRoot), false)
	if user != nil {
		isRoot = *user == 0
	}
	inGroup := group == nil || *group == 0 || p.inRootGroup
	return isRoot || mode&othersRead != 0 || mode&groupRead != 0 && inGroup
}

// firstOf returns the first pointer that is not nil, if any.
func firstOf[T any](all ...*T) *T {
	for _, p := range all {
		if p != nil {
			return p
		}
	}
	return nil
}
