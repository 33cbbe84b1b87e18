package app

import (
	"testing"

	"kube-aws-iam-controller/controllers"
)

// Who serves the same namespaces shares a Lease, in whatever order they were given; everybody else
// has another.
func TestLeaseName(t *testing.T) {
	if name := leaseName(nil); name != controllers.Name {
		t.Errorf("the Lease for all namespaces is %s", name)
	}
	shared := leaseName([]string{"a", "b"})
	for _, same := range [][]string{{"b", "a"}, {"a", "b", "a"}, {"b", "b", "a", "a"}} {
		if name := leaseName(same); name != shared {
			t.Errorf("%q has Lease %s and not %s", same, name, shared)
		}
	}
	names := map[string][]string{controllers.Name: nil, shared: {"a", "b"}}
	for _, other := range [][]string{{"a"}, {"b"}, {"a", "c"}, {"a", "b", "c"}, {"ab"}} {
		name := leaseName(other)
		if taken, ok := names[name]; ok {
			t.Errorf("%q and %q share Lease %s", other, taken, name)
		}
		names[name] = other
	}
}
