//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dir is where the cluster has its files: in memory, and gone with it.
const dir = "/run/e2e"

// tunables of the kernel are set by the kubelet for the whole machine.
var tunables = []string{
	"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops",
	"/proc/sys/kernel/keys/root_maxkeys", "/proc/sys/kernel/keys/root_maxbytes",
}

// runInit is the first process of the namespaces: it mounts file systems, starts the process that
// does the work, and reaps orphans, such as containerd's shims.
func runInit(ctx context.Context) error {
	if err := errors.Join(enterCgroup(os.Getenv(cgroupVariable)), mountAll()); err != nil {
		return err
	}
	inside := startAgain(context.WithoutCancel(ctx), stageInside)
	if err := inside.Start(); err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = inside.Process.Signal(syscall.SIGTERM)
	}()
	return reapUntil(inside.Process.Pid)
}

// reapUntil waits for every process that ends, until the process last does.
func reapUntil(last int) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for processes: %w", err)
		case pid != last:
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		case status.Exited():
			return &exitError{status.ExitStatus()}
		default:
			return fmt.Errorf("the tests were ended by signal: %s", status.Signal())
		}
	}
}

// mountAll gives the cluster its own /proc and /run, and copies of /var and of the kernel's
// tunables: what it writes there is gone with it.
func mountAll() error {
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	upper, work := filepath.Join(dir, "var", "upper"), filepath.Join(dir, "var", "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil { //nolint:gosec // upper gives /var its mode
		return err
	}
	if err := mount("overlay", "/var", "overlay", 0, "lowerdir=/var,upperdir="+upper+",workdir="+work); err != nil {
		return err
	}
	for _, tunable := range tunables {
		value, err := os.ReadFile(tunable) //nolint:gosec // one of a few
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "tunables", tunable)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, value, 0o600)); err != nil { //nolint:gosec // one of a few
			return err
		}
		if err := mount(path, tunable, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	return nil
}
