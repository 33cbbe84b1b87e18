//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keepLogs writes what shows what happened: the state of the cluster, what containers printed, and
// what STS was asked. It returns an error if a secret is in it.
func (e *testEnv) keepLogs(ctx context.Context) error {
	var failures []error
	for _, what := range []string{"pods", "events"} {
		out, err := e.kubectlOutput(ctx, "get", what, "--all-namespaces", "--output=wide", "--request-timeout=10s")
		failures = append(failures, err, os.WriteFile(e.logFile(what), out, 0o600))
	}
	failures = append(failures, e.cluster.CopyLogs(ctx, filepath.Join(e.logs, "pods")), e.writeCalls(), e.findLeaks())
	return errors.Join(failures...)
}

func (e *testEnv) logFile(name string) string { return filepath.Join(e.logs, name+".log") }

// findLeaks returns an error if a secret that STS has issued is in what the controller's pods
// printed, or in what kubectl shows of pods and events.
func (e *testEnv) findLeaks() error {
	paths, err := filepath.Glob(filepath.Join(e.logs, "pods", kubeSystem+"_*", "*", "*.log"))
	if err != nil || len(paths) == 0 {
		return errors.Join(err, errors.New("there are no logs of the controller"))
	}
	var text []byte
	for _, path := range append(paths, e.logFile("pods"), e.logFile("events")) {
		log, err := os.ReadFile(path) //nolint:gosec // one of ours
		if err != nil {
			return err
		}
		text = append(text, log...)
	}
	for leaked := range e.STS.IssuedSecrets() {
		if bytes.Contains(text, []byte(leaked)) {
			return fmt.Errorf("a secret is in the logs in %s", e.logs)
		}
	}
	return nil
}

// writeCalls writes the last calls that STS got.
func (e *testEnv) writeCalls() error {
	out, err := os.Create(e.logFile("sts"))
	if err != nil {
		return err
	}
	for _, call := range e.STS.Calls() {
		_, _ = fmt.Fprintf(out, "%s %s %s by %s with %s: %q\n",
			call.Time.UTC().Format(time.RFC3339Nano), call.Operation, call.RoleARN, call.Caller, call.CallerKeyID, call.Code)
	}
	return out.Close()
}
