package request

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"kube-aws-iam-controller/pkg/secret/keys"
)

const (
	// maxMountPath is the length of the longest mount path, in bytes.
	maxMountPath = 256
	// maxPlaces limits the directories of one container that a Warning keeps.
	maxPlaces = 4
)

// mountPathForm rejects characters that the shell of a credential_process would interpret.
var mountPathForm = regexp.MustCompile(`^/[A-Za-z0-9._/-]+$`)

// CheckMountPath returns an error if a directory cannot be the one in which pods have the files of
// a Secret. SDKs pass it to a shell.
func CheckMountPath(dir string) error {
	if len(dir) > maxMountPath || !mountPathForm.MatchString(dir) || path.Clean(dir) != dir {
		return fmt.Errorf("not an absolute path of letters, digits and ._/-, of at most %d characters, such as /meta/aws-iam", maxMountPath)
	}
	return nil
}

// readMountPath sets the mount path. It returns what is wrong with the annotation, or an empty
// string.
func (r *Request) readMountPath(annotations map[string]string) (problem string) {
	value := annotations[MountPathAnnotation]
	if value == "" {
		return ""
	}
	if err := CheckMountPath(value); err != nil {
		return fmt.Sprintf("annotation %s is %s, %s", MountPathAnnotation, quoted(value), err)
	}
	r.MountPath = value
	return ""
}

// WarningsFor returns the Warnings that hold while decider is the request that decides over the
// Secret. mountPath is the controller's default, as FromPod has it. While decider is invalid, it is
// not known where the files belong.
func (r Request) WarningsFor(decider Request, mountPath string) []Warning {
	at := cmp.Or(decider.MountPath, mountPath)
	elsewhere := r.atDefault && at != mountPath
	var hold []Warning
	for _, w := range r.warnings {
		switch {
		case !w.holds(&decider, at):
		case w.Reason == MountPathMismatch && at != mountPath: // its note names the default
			elsewhere = true
		default:
			hold = append(hold, w)
		}
	}
	if elsewhere && decider.invalid == "" {
		hold = append(hold, Warning{Reason: MountPathMismatch, Note: fmt.Sprintf(
			"a container has the files of Secret %s elsewhere than in %s, where its %s looks for them because of the annotation %s on %s: mount it there",
			quoted(r.Secret), quoted(at), keys.CredentialsProcess, MountPathAnnotation, r.annotated())})
	}
	return hold
}

// holds reports whether a Warning holds for a Secret whose files name the mount path at.
func (w *Warning) holds(decider *Request, at string) bool {
	if w.Reason != MountPathMismatch {
		return !w.unlessKeys || !decider.Keys
	}
	return decider.invalid == "" && !slices.Contains(strings.Split(w.unlessAt, ":"), at)
}

// annotated returns the object whose annotations choose what is in the Secret that a pod asks for.
func (r *Request) annotated() string {
	if account := r.ServiceAccount(); account != "" {
		return "ServiceAccount " + quoted(account).String()
	}
	return "an AWSIAMRole of the Secret's name"
}

// warnAboutPlace adds a warning about a container that does not find the files of a Secret. Which
// directory is the right one is decided by the annotations of another object, so the warning is
// kept for all containers but those that have the files in the default mount path alone. places are
// the directories in which the container has them.
func (s *volumeSecret) warnAboutPlace(m *mounts, places []string, mountPath string) {
	if len(places) == 1 && places[0] == mountPath {
		s.request.atDefault = true
		return
	}
	if len(s.request.warnings) == maxWarnings {
		return
	}
	valid := slices.DeleteFunc(places, func(dir string) bool { return CheckMountPath(dir) != nil })
	s.request.addWarning(Warning{
		Reason: MountPathMismatch,
		Note: fmt.Sprintf("container %s has the files of Secret %s in %s, but its %s looks for them in %s: mount it there, "+
			"or set annotation %s on %s to the path, or give the container a credential_process of its own",
			quoted(m.container), quoted(s.request.Secret), shorten(path.Join(m.paths[0], shorten(path.Dir(path.Join("/", s.jsonPath)), maxQuoted)), maxQuoted),
			keys.CredentialsProcess, mountPath, MountPathAnnotation, s.request.annotated()),
		unlessAt: strings.Join(valid[:min(len(valid), maxPlaces)], ":"),
	})
}

// placesIn returns the directories in which a container has credentials.json under its own name.
func (s *volumeSecret) placesIn(m *mounts) (places []string) {
	for _, mounted := range m.paths {
		if dir, name := path.Split(path.Join(mounted, path.Join("/", s.jsonPath))); name == keys.CredentialsJSON && !slices.Contains(places, path.Clean(dir)) {
			places = append(places, path.Clean(dir))
		}
	}
	return places
}
