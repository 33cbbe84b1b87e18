//go:build linux

// Package node runs a Kubernetes cluster of one node on this machine: etcd, API server, controller
// manager, scheduler, containerd and kubelet, with the STS double. It needs root.
//
// All of it lives in namespaces of its own (mounts, network, processes). When the program ends, in
// whatever way, the kernel removes it.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endTimeout is how long the cluster can take to end before it is killed.
const endTimeout = 20 * time.Second

const (
	// stageVariable says as what the program was started again, empty at first.
	stageVariable = "E2E_STAGE"
	stageInit     = "init"   // the first process of the namespaces
	stageInside   = "inside" // the caller's function
	// cgroupVariable is the name of the cluster's cgroup.
	cgroupVariable = "E2E_CGROUP"
)

// RunIsolated starts this program again, with the same arguments, in namespaces of its own. There
// it calls f, whose context ends with a signal, and returns its exit code. It fails if something
// is left on the machine afterwards. Unless isolated, it calls f at once.
func RunIsolated(isolated bool, f func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if !isolated {
		return f(ctx)
	}
	var err error
	switch os.Getenv(stageVariable) {
	case stageInside:
		return f(ctx)
	case stageInit:
		err = runInit(ctx)
	default:
		err = runOutside(ctx)
	}
	return exitCode(err)
}

// exitError is the failure of a process that has printed why.
type exitError struct{ code int }

func (e *exitError) Error() string { return "exit code " + strconv.Itoa(e.code) }

// exitCode returns the code for an error, and prints the error unless a process has done so.
func exitCode(err error) int {
	exit := &exitError{}
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		fmt.Fprintln(os.Stderr, "e2e: "+err.Error())
		return 1
	}
}

// runOutside runs the namespaces, and checks that nothing is left of them.
func runOutside(ctx context.Context) error {
	if os.Getuid() != 0 {
		return errors.New("namespaces, mounts and cgroups need root")
	}
	before, err := findTraces()
	if err != nil {
		return err
	}
	cgroup := cgroupPrefix + strconv.Itoa(os.Getpid())
	paths, err := makeCgroups(cgroup)
	if err == nil {
		err = runNamespaces(ctx, cgroup)
	}
	err = errors.Join(err, removeCgroups(paths))
	after, traceErr := findTraces()
	if left := after.without(before); len(left) > 0 {
		// This is printed even if the process inside has failed and printed why.
		fmt.Fprintf(os.Stderr, "e2e: left behind or changed:\n%s\n", strings.Join(left, "\n"))
		err = errors.Join(err, &exitError{1})
	}
	return errors.Join(err, traceErr)
}

// runNamespaces runs the first process of new namespaces. When that ends, the kernel kills all
// others in them, and removes the mounts, network interfaces and packet filters.
func runNamespaces(ctx context.Context, cgroup string) error {
	runtime.LockOSThread() // Pdeathsig is about the thread
	command := startAgain(ctx, stageInit)
	command.Env = append(command.Env, cgroupVariable+"="+cgroup)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C is for this process alone, which passes it on
	}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = endTimeout
	err := command.Run()
	if exit := (&exec.ExitError{}); errors.As(err, &exit) && exit.Exited() {
		return &exitError{exit.ExitCode()}
	}
	return err
}

// startAgain returns a command that starts this program for another stage.
func startAgain(ctx context.Context, stage string) *exec.Cmd {
	command := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...) //nolint:gosec // this very program
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), stageVariable+"="+stage, "HOME="+dir, "XDG_CACHE_HOME="+dir)
	return command
}
