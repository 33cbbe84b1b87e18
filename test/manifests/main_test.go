package manifests_test

import (
	"os"
	"testing"
)

// TestMain runs the tests in config/, so that paths in them are the ones that users type there.
func TestMain(m *testing.M) {
	if err := os.Chdir("../../config"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
