package request

import (
	"path"
	"slices"

	"kube-aws-iam-controller/pkg/secret/keys"

	corev1 "k8s.io/api/core/v1"
)

// volumeSecret is one Secret in one volume, merged from all sources of the volume that list it.
type volumeSecret struct {
	volume  string
	request *Request
	// optional is true if all sources are optional.
	optional bool
	// process is true if the volume contains credentials.process.
	process bool
	// jsonPath is the path of credentials.json within the volume, or empty if it is not there.
	jsonPath string
	// mode has the bits that the modes of all files have.
	mode int32
}

// addSource merges one source of the volume.
func (s *volumeSecret) addSource(source *projection) {
	s.optional = s.optional && source.optional
	s.mode &= source.mode()
	if len(source.items) == 0 {
		s.process, s.jsonPath = true, keys.CredentialsJSON
	}
	for i := range source.items {
		switch item := &source.items[i]; item.Key {
		case keys.CredentialsProcess:
			s.process = true
		case keys.CredentialsJSON:
			s.jsonPath = item.Path
		}
	}
}

// mounts are all mounts of one volume in one container.
type mounts struct {
	container string
	security  *corev1.SecurityContext // the container's
	paths     []string                // cleaned, without mounts of a subPath
	subPath   bool                    // whether there is a mount of a subPath
}

// addMounts fills the values of volumes, whose keys are the names of the volumes to look at, in the
// order of the pod's containers.
func addMounts(pod *corev1.Pod, volumes map[string][]mounts) {
	for container := range containers(pod) {
		index := map[string]int{} // of this container's entry in volumes, by volume
		for i := range container.VolumeMounts {
			mount := &container.VolumeMounts[i]
			all, ok := volumes[mount.Name]
			if !ok {
				continue
			}
			at, seen := index[mount.Name]
			if !seen {
				at = len(all)
				index[mount.Name] = at
				all = append(all, mounts{container: container.Name, security: container.SecurityContext})
				volumes[mount.Name] = all
			}
			if mount.SubPath != "" || mount.SubPathExpr != "" {
				all[at].subPath = true
			} else {
				all[at].paths = append(all[at].paths, path.Clean(mount.MountPath))
			}
		}
	}
}

// warnAboutVolumes adds warnings about volumes in which credentials can arrive late, are never
// updated, or are not found, cannot be read, or are not used.
func warnAboutVolumes(pod *corev1.Pod, secrets []*volumeSecret, mountPath string) {
	volumes := map[string][]mounts{}
	for _, s := range secrets {
		volumes[s.volume] = nil
	}
	addMounts(pod, volumes)
	security := podSecurityOf(pod)
	for _, s := range secrets {
		if s.optional {
			s.request.warn(OptionalSecret, "volume %s takes Secret %s as optional: "+
				"the pod may start before its credentials exist; remove \"optional\"",
				quoted(s.volume), quoted(s.request.Secret))
		}
		s.warnAboutMounts(volumes[s.volume], mountPath)
		s.warnAboutPermissions(volumes[s.volume], security)
	}
	warnAboutOverrides(pod, secrets)
}

// warnAboutMounts adds warnings about the mounts of the volume. A container that has one correct
// mount gets no warning about its others. A volume without one of the two files is used in a way
// that is not known here, so there are no warnings about its mounts.
func (s *volumeSecret) warnAboutMounts(all []mounts, mountPath string) {
	for i := range all {
		m := &all[i]
		hasBothFiles := len(m.paths) > 0 && s.process && s.jsonPath != ""
		places := s.placesIn(m)
		if m.subPath && (len(m.paths) == 0 || hasBothFiles && !slices.Contains(places, mountPath)) {
			s.request.warn(NeverRefreshed, "container %s mounts Secret %s with subPath: "+
				"the kubelet never updates such a file, and its credentials expire; mount the whole volume instead",
				quoted(m.container), quoted(s.request.Secret))
		}
		if hasBothFiles {
			s.warnAboutPlace(m, places, mountPath)
		}
	}
}

// warnAboutEnvironments adds warnings about containers that read Secrets into their environment.
func (c *collector) warnAboutEnvironments(pod *corev1.Pod) {
	for container := range containers(pod) {
		for secret := range environmentSecrets(container) {
			if r := c.bySecret[shorten(secret, maxSecretName)]; r != nil {
				r.warn(NeverRefreshed, "container %s takes Secret %s into environment variables, "+
					"which never change while it runs: its credentials expire; "+
					"mount the Secret as a volume and set AWS_SHARED_CREDENTIALS_FILE",
					quoted(container.Name), quoted(r.Secret))
			}
		}
	}
}
