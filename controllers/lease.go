package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"time"
)

// How long a Lease holds, and how long its holder tries to renew it before it gives up; it does so every two seconds, by client-go's default. A standby
// looks as often. So new pods wait for less than 20 s when a leader dies.
const (
	leaseDuration = 13 * time.Second
	renewDeadline = 9 * time.Second
)

// leaseName is the name of the Lease: one for each set of namespaces, so that instances can share a cluster.
func leaseName(namespaces []string) string {
	if len(namespaces) == 0 {
		return Name
	}
	sum := sha256.Sum256([]byte(strings.Join(distinct(namespaces), ",")))
	return Name + "-" + hex.EncodeToString(sum[:4])
}

// distinct are the names in order, each once.
func distinct(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// inClusterNamespace is where a pod finds the namespace that it runs in.
const inClusterNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// leaseNamespace is where the Lease lies: in a cluster the controller's own namespace, which the manager finds if it is given none, and
// kube-system otherwise.
func leaseNamespace() string {
	if _, err := os.Stat(inClusterNamespace); err == nil {
		return ""
	}
	return "kube-system"
}
