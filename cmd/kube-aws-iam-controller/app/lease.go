package app

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"time"

	"kube-aws-iam-controller/controllers"
)

// How long a Lease holds, and how long its holder tries to renew it before it gives up. Holder and
// standby look every two seconds, client-go's default: when a leader dies, new pods wait for less
// than 20 s.
const (
	leaseDuration = 13 * time.Second
	renewDeadline = 9 * time.Second
)

// leaseName returns the name of the Lease: one for each set of namespaces, so that instances can
// share a cluster.
func leaseName(namespaces []string) string {
	if len(namespaces) == 0 {
		return controllers.Name
	}
	sum := sha256.Sum256([]byte(strings.Join(distinct(namespaces), ",")))
	return controllers.Name + "-" + hex.EncodeToString(sum[:4])
}

// distinct returns the names in order, each once.
func distinct(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// inClusterNamespace is where a pod finds the namespace that it runs in.
const inClusterNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// leaseNamespace returns the namespace of the Lease: in a cluster the controller's own, which the
// manager finds if it is given none, otherwise kube-system.
func leaseNamespace() string {
	if _, err := os.Stat(inClusterNamespace); err == nil {
		return ""
	}
	return "kube-system"
}
