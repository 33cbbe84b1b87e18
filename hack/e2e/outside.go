//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long the cluster may take to end before it is killed.
const patience = 20 * time.Second

// endedError is a process that ended badly and has told why.
type endedError struct{ code int }

func (e *endedError) Error() string { return "ended with code " + strconv.Itoa(e.code) }

// runOutside starts the program anew in namespaces, and sees to it that nothing is left of them.
func runOutside(ctx context.Context, args []string) error {
	if _, _, err := parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("namespaces, mounts and cgroups need root")
	}
	before, err := look()
	if err != nil {
		return err
	}
	cgroup := cgroupPrefix + strconv.Itoa(os.Getpid())
	paths, err := makeCgroups(cgroup)
	if err == nil {
		err = isolated(ctx, append(args, "--cgroup=/"+cgroup))
	}
	err = errors.Join(err, removeCgroups(paths))
	after, lookErr := look()
	if left := after.without(before); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left behind or changed:\n%s", strings.Join(left, "\n")))
	}
	return errors.Join(err, lookErr)
}

// isolated runs the first process of new namespaces. When that ends, the kernel kills whatever else is in them, and the mounts, network
// interfaces and packet filters go with the last process.
func isolated(ctx context.Context, args []string) error {
	runtime.LockOSThread() // Pdeathsig is about the thread
	command := again(ctx, asInit, args)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C is for this process alone, which passes it on
	}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = patience
	err := command.Run()
	if exit := (&exec.ExitError{}); errors.As(err, &exit) && exit.Exited() {
		return &endedError{exit.ExitCode()}
	}
	return err
}

// again is the program itself, for another stage.
func again(ctx context.Context, stage string, args []string) *exec.Cmd {
	command := exec.CommandContext(ctx, "/proc/self/exe", append([]string{stage}, args...)...) //nolint:gosec // this very program
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir)
	return command
}

// traces are what a cluster could leave on a machine or change there, one line each.
type traces map[string]bool

func (t traces) without(others traces) []string {
	var left []string
	for trace := range t {
		if !others[trace] {
			left = append(left, trace)
		}
	}
	slices.Sort(left)
	return left
}

// counters are what changes in the output of iptables-save by itself.
var counters = regexp.MustCompile(`^#.*|\[\d+:\d+\]`)

func look() (traces, error) {
	seen := traces{}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		seen["mount "+strings.TrimSpace(line)] = true
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		seen["interface "+i.Name] = true
	}
	rules, err := exec.Command("iptables-save").Output() //nolint:noctx // at once
	if err != nil {
		return nil, fmt.Errorf("iptables-save: %w", err)
	}
	for line := range bytes.Lines(rules) {
		seen["iptables "+string(counters.ReplaceAll(bytes.TrimSpace(line), nil))] = true
	}
	for _, tunable := range tunables {
		value, err := os.ReadFile(tunable) //nolint:gosec // one of a few
		if err != nil {
			return nil, err
		}
		seen[tunable+" "+strings.TrimSpace(string(value))] = true
	}
	return seen, nil
}
