package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kube-aws-iam-controller/controllers"
)

// serviceAccount is how the API server knows the controller in a cluster.
const serviceAccount = "system:serviceaccount:kube-system:" + controllers.Name

// auditPolicy makes the API server log every call of the controller, and no other.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  users: ["` + serviceAccount + `"]
- level: None
`

// audit reads the API server's log from where it was read last.
type audit struct {
	path string
	read int64
}

// prepareAudit writes the policy and returns the API server's flags for it.
func prepareAudit(dir string) (*audit, map[string]string, error) {
	policy := filepath.Join(dir, "audit-policy.yaml")
	a := &audit{path: filepath.Join(dir, "audit.log")}
	flags := map[string]string{"audit-policy-file": policy, "audit-log-path": a.path}
	return a, flags, os.WriteFile(policy, []byte(auditPolicy), 0o600)
}

// calls counts the controller's calls by verb and resource, such as "create secrets".
type calls map[string]int

func (a *audit) since() (calls, error) {
	log, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	if _, err := log.Seek(a.read, io.SeekStart); err != nil {
		return nil, err
	}
	found := calls{}
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil { // also a line that is not complete yet
			return found, nil
		}
		a.read += int64(len(line))
		var call struct {
			Verb, RequestURI string
			ObjectRef        struct{ Namespace, Resource, Subresource string }
		}
		if err := json.Unmarshal(bytes.TrimSpace(line), &call); err != nil {
			return nil, err
		}
		if strings.Contains(call.RequestURI, "dryRun=") { // it stores nothing
			continue
		}
		resource := call.ObjectRef.Resource + "/" + call.ObjectRef.Subresource
		if call.ObjectRef.Namespace == leaseNamespace && resource == "events/" {
			resource = "leases/event" // that the controller leads now
		}
		found[strings.TrimSuffix(call.Verb+" "+resource, "/")]++
	}
}

// leaseNamespace is where the Lease lies, and no pod of the benchmark.
const leaseNamespace = "kube-system"

// reviews are the calls that authorization needs, and leases those of leader election.
const (
	reviews = "create subjectaccessreviews"
	leases  = " leases"
)

// total counts all calls but those whose name contains one of the given texts.
func (c calls) total(but ...string) (n int) {
	for name, count := range c {
		if !containsAny(name, but) {
			n += count
		}
	}
	return n
}

// writes counts what changes objects: reviews do not.
func (c calls) writes(but ...string) int {
	return c.total(append(but, reviews, "get ", "list ", "watch ")...)
}

func containsAny(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
