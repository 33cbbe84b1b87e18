//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// against is what speaks against the program of an SDK in a pod that is called like its role: a call that failed, another identity than the role's, or that
// it has ended, though it ought to run for ever.
func against(pod *corev1.Pod, identities, failed []string) error {
	other := slices.IndexFunc(identities, func(is string) bool { return is != identity(pod.Name) })
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%s: %s", pod.Name, strings.Join(failed, "; "))
	case other >= 0:
		return fmt.Errorf("%s is %s, not %s", pod.Name, identities[other], identity(pod.Name))
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return fmt.Errorf("%s has ended", pod.Name)
	}
	return nil
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

// firstLog is the file of what a pod's only container has printed since the pod's begin, until it was started again, if it was.
func firstLog(pod *corev1.Pod) string {
	return filepath.Join(podLogs, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID), pod.Spec.Containers[0].Name, "0.log")
}

// printed is what the program of an SDK has said so far: who it is for STS, once for each call, and what went wrong.
func printed(pod *corev1.Pod) (ok, failed []string, err error) {
	all, err := lines(firstLog(pod))
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
