//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
)

// daemon is a program that has to run until the end, or until it is halted.
type daemon struct {
	process *os.Process
	halted  atomic.Bool
}

// daemon starts a program. Its log is kept.
func (c *cluster) daemon(name, path string, args ...string) error {
	out, err := os.OpenFile(c.log(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	command := exec.Command(path, args...) //nolint:gosec,noctx // one of ours, which ends with the namespaces
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		return errors.Join(err, out.Close())
	}
	d := &daemon{process: command.Process}
	c.daemons = append(c.daemons, d)
	go func() {
		err := errors.Join(command.Wait(), out.Close())
		if !d.halted.Load() {
			c.fail(errors.Join(fmt.Errorf("%s has ended; see %s", name, c.log(name)), err))
		}
	}()
	return nil
}

func (c *cluster) log(name string) string { return filepath.Join(c.logs, name+".log") }

// kill ends what was started, so that no log is written any more. The rest is the kernel's work.
func (c *cluster) kill() {
	for _, d := range c.daemons {
		d.halted.Store(true)
		_ = d.process.Kill()
	}
}

// halt kills the one process of a program, whoever started it, and returns how to start it again as it was.
func (c *cluster) halt(ctx context.Context, name string) (again func() error, err error) {
	pids, err := processes(name)
	if err != nil || len(pids) != 1 {
		return nil, errors.Join(err, fmt.Errorf("%d processes are %s", len(pids), name))
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pids[0]) + "/cmdline")
	if err != nil {
		return nil, err
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	for _, d := range c.daemons {
		if d.process.Pid == pids[0] {
			d.halted.Store(true)
		}
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return nil, err
	}
	return func() error { return c.daemon(name, args[0], args[1:]...) }, sandbox.Await(ctx, name+" is gone", func() (bool, error) {
		left, err := processes(name)
		return !slices.Contains(left, pids[0]), err
	})
}

// commLength is how much of a program's name the kernel keeps.
const commLength = 15

// processes are those of a program that run. Only those of this cluster are in this /proc.
func processes(name string) (pids []int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		comm, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil || string(bytes.TrimSpace(comm)) != name[:min(len(name), commLength)] {
			continue // it may have ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

const (
	kubeAPIServer         = "kube-apiserver"
	kubeControllerManager = "kube-controller-manager"
	kubeScheduler         = "kube-scheduler"
	kubelet               = "kubelet"
)

// restartAPIServer starts it again after halt, and waits until it answers.
func (c *cluster) restartAPIServer(ctx context.Context, again func() error) error {
	if err := again(); err != nil {
		return err
	}
	return sandbox.Await(ctx, "the API server answers", func() (bool, error) {
		return c.Cluster.Get(ctx, client.ObjectKey{Name: kubeSystem}, &corev1.Namespace{}) == nil, nil
	})
}

// quickenKubelet lets the kubelet look at its pods, and at their Secrets, every second, where it is a minute and a watch by default.
func (c *cluster) quickenKubelet(ctx context.Context) error {
	again, err := c.halt(ctx, kubelet)
	if err != nil {
		return err
	}
	return errors.Join(c.writeKubeletConfig("syncFrequency: 1s\nconfigMapAndSecretChangeDetectionStrategy: Get\n"), again())
}

// command runs a program that ends by itself. What it prints is told if it fails.
func (c *cluster) command(ctx context.Context, name string, args ...string) error {
	_, err := c.output(ctx, name, args...)
	return err
}

// output is what a program prints that ends by itself.
func (*cluster) output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // one of a few
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// kubectl runs it as the administrator.
func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	return c.command(ctx, filepath.Join(c.assets, "kubectl"), append([]string{"--kubeconfig=" + c.admin}, args...)...)
}
