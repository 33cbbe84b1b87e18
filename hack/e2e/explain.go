//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// explain keeps what tells why a trial failed: the state of the cluster, and what containers printed.
func (c *cluster) explain() {
	if c.admin == "" {
		return
	}
	fmt.Fprintf(os.Stderr, "\nlogs are in %s\n", c.logs)
	for name, args := range map[string][]string{
		"pods":   {"get", "pods", "--all-namespaces", "--output=wide"},
		"events": {"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
	} {
		out, _ := exec.Command(filepath.Join(c.assets, "kubectl"), append(args, "--kubeconfig="+c.admin, "--request-timeout=10s")...).CombinedOutput() //nolint:gosec,noctx // it bounds itself
		_ = os.WriteFile(c.log(name), out, 0o600)
		if name == "pods" {
			fmt.Fprintf(os.Stderr, "%s", out)
		}
	}
	_ = os.CopyFS(filepath.Join(c.logs, "pods"), os.DirFS(podLogs))
	_ = c.writeCalls()
}

// writeCalls writes what STS was asked.
func (c *cluster) writeCalls() error {
	out, err := os.Create(c.log("sts"))
	if err != nil {
		return err
	}
	for _, call := range c.STS.Calls() {
		_, _ = fmt.Fprintf(out, "%s %s %s by %s with %s: %q\n", call.Time.UTC().Format(time.RFC3339Nano), call.Operation, call.RoleARN, call.Caller, call.CallerKeyID, call.Code)
	}
	return out.Close()
}
