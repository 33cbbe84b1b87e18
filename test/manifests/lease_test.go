package manifests_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testLease runs a controller for some namespaces, with the right to its Lease that
// rbac/kustomization.yaml shows, and to no other.
func (c *cluster) testLease(t *testing.T) {
	line := regexp.MustCompile(`(?m)^echo .*$`).FindString(shown(t, "rbac"))
	command := strings.Replace(line, "orders payments", samples+" "+guarded+" "+samples, 1)
	printed, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output() //nolint:gosec // it is in config/
	if err != nil || command == line {
		t.Fatalf("%q: %v", line, err)
	}
	lease := strings.TrimSpace(string(printed))
	c.apply(t, overlay(t, "rbac", 0, strings.NewReplacer("<lease>", lease)))
	defer func() { c.apply(t, render(t, "rbac")) }()
	as := c.as(t, c.serviceAccount(t, name))
	eventually(t, "it may have its Lease", func() bool { return may(t, as, "update leases.coordination.k8s.io:"+lease+" "+namespace) })
	if other := "update leases.coordination.k8s.io:" + name + " " + namespace; may(t, as, other) {
		t.Error("it may " + other)
	}

	controller := c.run(t, []string{
		"--leader-elect", "--namespace=" + guarded, "--namespace=" + samples, "--metrics-bind-address=0", "--health-probe-bind-address=0",
	})
	controller.eventually(t, "it holds the Lease", func() bool {
		var l coordinationv1.Lease
		err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: lease}, &l)
		return err == nil && ptr.Deref(l.Spec.HolderIdentity, "") != ""
	})
	controller.stop(t)
}
