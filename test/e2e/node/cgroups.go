//go:build linux

package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kube-aws-iam-controller/test/env"
)

// cgroupPrefix and the number of the outermost process are the name of the cgroup that the whole
// cluster is in, in every hierarchy.
const cgroupPrefix = "kube-aws-iam-e2e-"

// daemonsCgroup is for all that is not a pod: cgroup 2 allows processes in leaves only.
const daemonsCgroup = "daemons"

// makeCgroups makes the cluster's cgroup, and returns its folders. It removes those of clusters
// that were killed.
func makeCgroups(name string) (paths []string, err error) {
	hierarchies, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	for _, hierarchy := range hierarchies {
		if err := removeStale(hierarchy); err != nil {
			return paths, err
		}
		// Controllers that cgroup 1 has are not available in cgroup 2. Those of cgroup 2 have to be
		// enabled for its children.
		for _, controller := range []string{"cpu", "cpuset", "memory", "pids"} {
			_ = os.WriteFile(filepath.Join(hierarchy, "cgroup.subtree_control"), []byte("+"+controller), 0)
		}
		path := filepath.Join(hierarchy, name)
		if err := os.MkdirAll(filepath.Join(path, daemonsCgroup), 0o755); err != nil { //nolint:gosec // as all cgroups are
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func cgroupMounts() (folders []string, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup" || fields[2] == "cgroup2" {
			folders = append(folders, fields[1])
		}
	}
	return folders, nil
}

func removeStale(hierarchy string) error {
	found, err := filepath.Glob(filepath.Join(hierarchy, cgroupPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range found {
		process := strings.TrimPrefix(filepath.Base(path), cgroupPrefix)
		if _, err := os.Stat("/proc/" + process); errors.Is(err, os.ErrNotExist) {
			if err := removeCgroups([]string{path}); err != nil {
				return err
			}
		}
	}
	return nil
}

// enterCgroup moves this process, and so all that it will start, into the cluster's cgroup.
func enterCgroup(name string) error {
	hierarchies, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		path := filepath.Join(hierarchy, name, daemonsCgroup)
		// A cpuset of cgroup 1 is empty at first, and nothing can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inheritCpuset(hierarchy, path, file); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte("0"), 0); err != nil { //nolint:gosec // of the kernel
			return err
		}
	}
	return nil
}

func inheritCpuset(hierarchy, path, file string) error {
	value, err := os.ReadFile(filepath.Join(hierarchy, file)) //nolint:gosec // of the kernel
	if errors.Is(err, os.ErrNotExist) {
		return nil // another controller's hierarchy
	}
	if err != nil {
		return err
	}
	for _, folder := range []string{filepath.Dir(path), path} {
		if err := os.WriteFile(filepath.Join(folder, file), value, 0); err != nil { //nolint:gosec // of the kernel
			return err
		}
	}
	return nil
}

// removeCgroups removes cgroups with all that are below them. It fails while a process is in one,
// and so reports processes that are left. The kernel can need a moment.
func removeCgroups(paths []string) error {
	var failures []error
	for _, path := range paths {
		var folders []string
		failures = append(failures, filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return err
		}))
		slices.Reverse(folders)
		for _, folder := range folders {
			failures = append(failures, env.AwaitWithin(context.Background(), endTimeout, 10*time.Millisecond,
				"the processes in "+folder+" have ended", func() (bool, error) {
					err := syscall.Rmdir(folder)
					if errors.Is(err, syscall.EBUSY) {
						return false, nil
					}
					return err == nil, err
				}))
		}
	}
	return errors.Join(failures...)
}
