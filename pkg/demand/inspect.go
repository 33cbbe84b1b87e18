package demand

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The two files of a Secret that belong together: the first names the second by its absolute path.
const (
	ProcessFile = "credentials.process"
	JSONFile    = "credentials.json"
)

// placement is one Secret in one volume, whatever the number of the volume's sources that list it.
type placement struct {
	volume string
	demand *Demand
	// optional is true if every source is.
	optional bool
	// process is true if the volume has credentials.process; jsonPath is where in it
	// credentials.json is, or empty.
	process  bool
	jsonPath string
}

// add merges a source of the volume into the placement.
func (p *placement) add(source *projection) {
	p.optional = p.optional && source.optional
	if len(source.items) == 0 {
		p.process, p.jsonPath = true, JSONFile
	}
	for i := range source.items {
		switch item := &source.items[i]; item.Key {
		case ProcessFile:
			p.process = true
		case JSONFile:
			p.jsonPath = item.Path
		}
	}
}

// mounts are the places at which one container mounts one volume.
type mounts struct {
	container string
	paths     []string // cleaned; without those with a subPath
	subPath   bool     // there is one with a subPath
}

// mountsByVolume indexes the mounts of the given volumes, in the order of the containers.
func mountsByVolume(pod *corev1.Pod, volumes map[string][]mounts) {
	for container := range containers(pod) {
		index := map[string]int{} // of this container, by volume
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
				all = append(all, mounts{container: container.Name})
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

// inspect warns of ways of mounting Secrets in which their credentials arrive late, never change,
// or are not found.
func inspect(pod *corev1.Pod, placements []*placement, mountPath string) {
	volumes := map[string][]mounts{}
	for _, p := range placements {
		volumes[p.volume] = nil
	}
	mountsByVolume(pod, volumes)
	for _, p := range placements {
		if p.optional {
			p.demand.warn(OptionalSecret, fmt.Sprintf("volume %s takes Secret %s as optional: the pod may start before its credentials exist; remove \"optional\"",
				quote(p.volume), quote(p.demand.Secret)))
		}
		p.inspectMounts(volumes[p.volume], mountPath)
	}
}

// inspectMounts judges where containers mount the volume. One good mount is enough: the container's
// others are then its own business. So are all mounts of a volume that leaves out one of the two
// files: it is used in another way, which cannot be judged.
func (p *placement) inspectMounts(all []mounts, mountPath string) {
	judged := p.process && p.jsonPath != ""
	good, below := goodPath(p.jsonPath, mountPath)
	for i := range all {
		m := &all[i]
		if len(m.paths) > 0 && (!judged || slices.Contains(m.paths, good)) {
			continue
		}
		if m.subPath {
			p.demand.warn(NeverRefreshed, fmt.Sprintf("container %s mounts Secret %s with subPath: the kubelet never updates such a file, and its credentials expire; mount the whole volume at %s",
				quote(m.container), quote(p.demand.Secret), mountPath))
		}
		if len(m.paths) > 0 {
			p.demand.warn(MountPathMismatch, fmt.Sprintf(
				"container %s has the files of Secret %s in %s, but its %s looks for them in %s: mount it there, or give the container a credential_process of its own",
				quote(m.container), quote(p.demand.Secret), shorten(path.Join(m.paths[0], below), maxQuoted), ProcessFile, mountPath))
		}
	}
}

// goodPath returns where a volume that has credentials.json at jsonPath is to be mounted so that
// credentials.process finds it under mountPath; empty if that is nowhere. It also returns the
// folder of the file within the volume, cut for a message.
func goodPath(jsonPath, mountPath string) (good, below string) {
	jsonPath = path.Join("/", jsonPath)
	below = shorten(path.Dir(jsonPath), maxQuoted)
	good, ok := strings.CutSuffix(path.Join(mountPath, JSONFile), jsonPath)
	if ok && good == "" {
		good = "/"
	}
	if !ok {
		good = ""
	}
	return good, below
}

// inEnvironment warns of a container that takes credentials into its environment.
func inEnvironment(d *Demand, container string) {
	d.warn(NeverRefreshed, fmt.Sprintf(
		"container %s takes Secret %s into environment variables, which never change while it runs: its credentials expire; mount the Secret as a volume and set AWS_SHARED_CREDENTIALS_FILE",
		quote(container), quote(d.Secret)))
}
