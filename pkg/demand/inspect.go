package demand

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
)

// The two files of a Secret that belong together: the first names the second by its absolute path.
const (
	ProcessFile = "credentials.process"
	JSONFile    = "credentials.json"
)

// inspectVolume looks for ways of mounting a Secret in which its credentials arrive late, never change, or are not found.
func inspectVolume(pod *corev1.Pod, p projection, mountPath string) []Finding {
	var findings []Finding
	if p.optional {
		findings = append(findings, Finding{OptionalSecret, fmt.Sprintf(
			"volume %q takes Secret %q as optional: the pod may start before its credentials exist; remove \"optional\"", p.volume, p.secret)})
	}
	for container := range containers(pod) {
		findings = append(findings, inspectMounts(container, p, mountPath)...)
	}
	return findings
}

// inspectMounts judges where one container mounts a Secret's volume. One good mount is enough: the container's others are then its own business.
func inspectMounts(c *corev1.Container, p projection, mountPath string) []Finding {
	var findings []Finding
	for _, mount := range c.VolumeMounts {
		switch {
		case mount.Name != p.volume:
		case mount.SubPath != "" || mount.SubPathExpr != "":
			findings = append(findings, Finding{NeverRefreshed, fmt.Sprintf(
				"container %q mounts Secret %q with subPath: the kubelet never updates such a file, and its credentials expire; mount the whole volume at %s",
				c.Name, p.secret, mountPath)})
		default:
			at, ok := findsItself(p, mount.MountPath, mountPath)
			if ok {
				return nil
			}
			findings = append(findings, Finding{MountPathMismatch, fmt.Sprintf(
				"container %q has the files of Secret %q in %s, but its %s looks for them in %s: mount it there, or give the container a credential_process of its own",
				c.Name, p.secret, at, ProcessFile, mountPath)})
		}
	}
	return findings
}

// findsItself tells whether credentials.process, where it is mounted, points to where credentials.json is; and where that is. A volume
// that leaves one of the two out is used in another way, which cannot be judged.
func findsItself(p projection, mountedAt, mountPath string) (at string, ok bool) {
	if len(p.items) == 0 {
		return mountedAt, path.Clean(mountedAt) == path.Clean(mountPath)
	}
	var hasProcess bool
	var jsonAt string
	for _, item := range p.items {
		switch item.Key {
		case ProcessFile:
			hasProcess = true
		case JSONFile:
			jsonAt = path.Join(mountedAt, item.Path)
		}
	}
	if !hasProcess || jsonAt == "" {
		return mountedAt, true
	}
	return path.Dir(jsonAt), jsonAt == path.Join(mountPath, JSONFile)
}

// inEnvironment is the finding of a container that takes credentials into its environment.
func inEnvironment(container, secret string) Finding {
	return Finding{NeverRefreshed, fmt.Sprintf(
		"container %q takes Secret %q into environment variables, which never change while it runs: its credentials expire; mount the Secret as a volume and set AWS_SHARED_CREDENTIALS_FILE",
		container, secret)}
}
