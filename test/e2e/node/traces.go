//go:build linux

package node

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

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

// findTraces returns the machine's mounts, network interfaces, packet filters and tunables.
func findTraces() (traces, error) {
	found := traces{}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		found["mount "+strings.TrimSpace(line)] = true
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		found["interface "+i.Name] = true
	}
	rules, err := exec.Command("iptables-save").Output() //nolint:noctx // at once
	if err != nil {
		return nil, fmt.Errorf("iptables-save: %w", err)
	}
	for line := range bytes.Lines(rules) {
		found["iptables "+string(counters.ReplaceAll(bytes.TrimSpace(line), nil))] = true
	}
	for _, tunable := range tunables {
		value, err := os.ReadFile(tunable) //nolint:gosec // one of a few
		if err != nil {
			return nil, err
		}
		found[tunable+" "+strings.TrimSpace(string(value))] = true
	}
	return found, nil
}
