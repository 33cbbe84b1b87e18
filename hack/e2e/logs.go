//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ended tells whether the pod's program, which ought to run for ever, has ended.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// keepLogs keeps what tells what happened: the state of the cluster, what containers printed, and what STS was asked.
func (c *cluster) keepLogs() error {
	if c.admin == "" {
		return nil // nothing has happened yet
	}
	var failures []error
	for _, what := range []string{"pods", "events"} {
		out, err := exec.Command(filepath.Join(c.assets, "kubectl"), "get", what, "--all-namespaces", "--output=wide", //nolint:gosec,noctx // it bounds itself
			"--kubeconfig="+c.admin, "--request-timeout=10s").CombinedOutput()
		failures = append(failures, err, os.WriteFile(c.log(what), out, 0o600))
	}
	failures = append(failures, os.CopyFS(filepath.Join(c.logs, "pods"), os.DirFS(podLogs)), c.writeCalls(), c.findLeaks())
	return errors.Join(failures...)
}

// findLeaks returns an error if a secret that STS gave away is in what the controller's pods printed, or in what Kubernetes shows of pods and events.
func (c *cluster) findLeaks() error {
	paths, err := filepath.Glob(filepath.Join(c.logs, "pods", kubeSystem+"_*", "*", "*.log"))
	if err != nil || len(paths) == 0 {
		return errors.Join(err, errors.New("there are no logs of the controller"))
	}
	var text []byte
	for _, path := range append(paths, c.log("pods"), c.log("events")) {
		log, err := os.ReadFile(path) //nolint:gosec // one of ours
		if err != nil {
			return err
		}
		text = append(text, log...)
	}
	for leaked := range c.STS.IssuedSecrets() {
		if bytes.Contains(text, []byte(leaked)) {
			return fmt.Errorf("a secret is in the logs in %s", c.logs)
		}
	}
	return nil
}

// printed is what the program of an SDK has said so far: who it is for STS, once for each call, and what went wrong.
func printed(pod *corev1.Pod) (ok, failed []string, err error) {
	all, err := lines(filepath.Join(podLogs, namespace+"_"+pod.Name+"_"+string(pod.UID), container, "0.log"))
	for _, line := range all {
		// Time, stream, and whether the line is whole come first.
		fields := strings.SplitN(line, " ", 4)
		if len(fields) < 4 {
			continue
		}
		if arn, said := strings.CutPrefix(fields[3], "ok "); said {
			ok = append(ok, arn)
		} else if fields[1] == "stdout" {
			failed = append(failed, fields[3])
		}
	}
	return ok, failed, err
}

// writeCalls writes what STS was asked, as far as it remembers.
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
