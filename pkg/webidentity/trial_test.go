package webidentity_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/webidentity"
)

func TestTrial_Rejected(t *testing.T) {
	for _, c := range []struct {
		name       string
		status     int
		code       string // of the error, or "" if there is none
		againAfter time.Duration
	}{
		{"the API server rejects the token", http.StatusUnauthorized, "", 61 * time.Minute},
		{"it accepts the token", http.StatusCreated, "AudienceAccepted", 0},
		{"it accepts the token, which has no right", http.StatusForbidden, "AudienceAccepted", 0},
		{"it is away", http.StatusServiceUnavailable, "AudienceUnknown", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if got := r.Header.Get("Authorization"); got != "Bearer a-token" || r.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews" {
					t.Errorf("%s with %q", r.URL.Path, got)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte("{}"))
			}))
			t.Cleanup(api.Close)
			clock := clocktesting.NewFakePassiveClock(time.Now())
			trial := &webidentity.Trial{Config: &rest.Config{Host: api.URL, BearerToken: "the controller's own"}, Clock: clock}
			try := func(audience string) {
				t.Helper()
				err := trial.Rejected(t.Context(), audience, credentials.Redact("a-token"))
				if (err == nil) != (c.code == "") || err != nil && credentials.CodeOf(err) != c.code {
					t.Errorf("got %v", err)
				}
			}
			try("a")
			try("a")
			if want := map[bool]int{true: 1, false: 2}[c.code == ""]; asked != want {
				t.Errorf("asked %d times, not %d", asked, want)
			}
			before := asked
			try("b")
			clock.SetTime(clock.Now().Add(c.againAfter))
			try("a")
			if asked != before+2 {
				t.Errorf("asked %d times for another audience and for the first one again", asked-before)
			}
		})
	}
}
