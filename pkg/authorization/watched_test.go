package authorization

import (
	"slices"
	"strings"
	"testing"
)

func TestReduce_KeepsNoLongAnnotations(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	m := WatchedObjects([]string{ModeNamespace})[0]
	m.Name, m.Labels = "n", map[string]string{"l": long}
	m.Annotations = map[string]string{AllowedRolesAnnotation: long, PermittedAnnotation: "orders", "other": long}
	for range 2 { // a transform must be idempotent
		Reduce(m)
		if m.Name != "n" || len(m.Labels) > 0 || len(m.Annotations) != 2 || m.Annotations[PermittedAnnotation] != "orders" || len(m.Annotations[AllowedRolesAnnotation]) > 100 {
			t.Errorf("kept: %d annotations, %q", len(m.Annotations), slices.Sorted(func(yield func(string) bool) {
				for key := range m.Annotations {
					if !yield(key) {
						return
					}
				}
			}))
		}
	}
}

// The API server accepts roles and bindings with names of any length.
func TestReduce_KeepsNoLongNames(t *testing.T) {
	names := map[string]bool{}
	for _, last := range []string{"a", "b"} {
		m := WatchedObjects([]string{ModeRBAC})[0]
		m.Namespace, m.Name = "n", strings.Repeat("x", 500_000)+last
		for range 2 {
			Reduce(m)
			names[m.Name] = true
		}
		if m.Namespace != "n" || len(m.Name) > 253 {
			t.Errorf("kept: %d bytes", len(m.Name))
		}
	}
	if len(names) != 2 {
		t.Errorf("%d names for two", len(names))
	}
}
