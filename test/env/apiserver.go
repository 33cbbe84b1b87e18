package env

import (
	"os"
	"testing"
)

// RequireAPIServer skips a test that needs an API server where KUBEBUILDER_ASSETS names none. It
// fails the test instead if REQUIRE_API_SERVER is set, as make test does.
func RequireAPIServer(tb testing.TB) {
	tb.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		return
	}
	const message = "needs an API server: run make test, or export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl)"
	if os.Getenv("REQUIRE_API_SERVER") != "" {
		tb.Fatal(message)
	}
	tb.Skip(message)
}
