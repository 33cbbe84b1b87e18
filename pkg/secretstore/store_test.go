package secretstore

import "testing"

func TestStore_IsStaleUntilTheCacheHasTheWrite(t *testing.T) {
	for _, test := range []struct {
		name, written, cached string
		stale                 bool
	}{
		{"nothing was written", "", "", false},
		{"nothing is cached", "7", "", true},
		{"an older version is cached", "10", "9", true},
		{"the written version is cached", "10", "10", false},
		{"a later version is cached", "9", "10", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if isStale(test.cached, test.written) != test.stale {
				t.Errorf("stale is %t", !test.stale)
			}
		})
	}
}
