//go:build linux

package node

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

	"kube-aws-iam-controller/test/env"
)

// The programs of Kubernetes that Halt takes.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
)

// daemon is a program that has to run until the end, or until it is halted.
type daemon struct {
	process *os.Process
	halted  atomic.Bool
}

// StartDaemon starts a program that has to run until the end, with a log of its own.
func (n *Node) StartDaemon(name, path string, args ...string) error {
	out, err := os.OpenFile(n.LogFile(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	command := exec.Command(path, args...) //nolint:gosec,noctx // one of ours, which ends with the namespaces
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		return errors.Join(err, out.Close())
	}
	d := &daemon{process: command.Process}
	n.daemons = append(n.daemons, d)
	go func() {
		err := errors.Join(command.Wait(), out.Close())
		if !d.halted.Load() {
			n.fail(errors.Join(fmt.Errorf("%s has ended; see %s", name, n.LogFile(name)), err))
		}
	}()
	return nil
}

// LogFile returns the path of a log.
func (n *Node) LogFile(name string) string { return filepath.Join(n.Logs, name+".log") }

// Kill ends the daemons, so that they write no more logs. The kernel ends the rest with the
// namespaces.
func (n *Node) Kill() {
	for _, d := range n.daemons {
		d.halted.Store(true)
		_ = d.process.Kill()
	}
}

// Halt kills the one process of a program, and returns a function that starts it again with the
// same arguments.
func (n *Node) Halt(ctx context.Context, name string) (restart func() error, err error) {
	pids, err := ProcessIDs(name)
	if err != nil || len(pids) != 1 {
		return nil, errors.Join(err, fmt.Errorf("%d processes are %s", len(pids), name))
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pids[0]) + "/cmdline")
	if err != nil {
		return nil, err
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	for _, d := range n.daemons {
		if d.process.Pid == pids[0] {
			d.halted.Store(true)
		}
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return nil, err
	}
	return func() error { return n.StartDaemon(name, args[0], args[1:]...) }, env.Await(ctx, name+" has ended", func() (bool, error) {
		left, err := ProcessIDs(name)
		return !slices.Contains(left, pids[0]), err
	})
}

// Restart kills a program and starts it again at once.
func (n *Node) Restart(ctx context.Context, name string) error {
	restart, err := n.Halt(ctx, name)
	if err != nil {
		return err
	}
	return restart()
}

// commLength is how much of a program's name the kernel keeps.
const commLength = 15

// ProcessIDs returns the processes of a program. Only those of the node are in this /proc.
func ProcessIDs(name string) (pids []int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		comm, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil || string(bytes.TrimSpace(comm)) != name[:min(len(name), commLength)] {
			continue // it can have ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// AwaitAPIServer waits until the API server answers.
func (n *Node) AwaitAPIServer(ctx context.Context) error {
	return env.Await(ctx, "the API server answers", func() (bool, error) {
		return n.Cluster.Get(ctx, client.ObjectKey{Name: "kube-system"}, &corev1.Namespace{}) == nil, nil
	})
}

// SpeedUpKubelet makes the kubelet sync its pods, and read their Secrets, every second. By default
// it syncs every minute and watches Secrets.
func (n *Node) SpeedUpKubelet(ctx context.Context) error {
	return n.configureKubelet(ctx, "syncFrequency: 1s\nconfigMapAndSecretChangeDetectionStrategy: Get\n")
}

// ResetKubelet takes SpeedUpKubelet back.
func (n *Node) ResetKubelet(ctx context.Context) error { return n.configureKubelet(ctx, "") }

func (n *Node) configureKubelet(ctx context.Context, settings string) error {
	restart, err := n.Halt(ctx, Kubelet)
	if err != nil {
		return err
	}
	return errors.Join(writeKubeletConfig(settings), restart())
}

// run runs a program that ends by itself. Its output is in the error.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

// output returns what a program prints that ends by itself.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // one of a few
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
