package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// reviewer is an API server that knows each token as its owner's name, but not "unknown", and
// answers reviews.
type reviewer struct {
	t       *testing.T
	reviews atomic.Int64
}

// ServeHTTP implements http.Handler.
func (s *reviewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.reviews.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
		var review authenticationv1.TokenReview
		s.read(r, &review)
		if review.Spec.Token == "broken" {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		review.Status.Authenticated = review.Spec.Token != "unknown"
		review.Status.User.Username = review.Spec.Token
		review.Status.User.Groups = []string{"scrapers"}
		s.write(w, &review)
		return
	}
	var review authorizationv1.SubjectAccessReview
	s.read(r, &review)
	asked := review.Spec.NonResourceAttributes
	review.Status.Allowed = review.Spec.User == "prometheus" && asked.Path == "/metrics" && asked.Verb == "get" && len(review.Spec.Groups) == 1
	if review.Spec.User == "undecided" {
		review.Status.EvaluationError = "webhook timed out"
	}
	s.write(w, &review)
}

func (s *reviewer) read(r *http.Request, into any) {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		s.t.Error(err)
	}
}

func (s *reviewer) write(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Error(err)
	}
}

// protected returns metrics that only a reviewer's prometheus may read.
func protected(t *testing.T) (*reviewer, http.Handler) {
	t.Helper()
	s := &reviewer{t: t}
	api := httptest.NewServer(s)
	t.Cleanup(api.Close)
	config := &rest.Config{Host: api.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	access, err := newMetricsAccess(config, api.Client())
	if err != nil {
		t.Fatal(err)
	}
	return s, access.require(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
}

func ask(t *testing.T, h http.Handler, method, path, authorization string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestMetricsAccess(t *testing.T) {
	for _, test := range []struct {
		name, method, path, authorization string
		want                              int
		reviews                           int64
	}{
		{"no token", "GET", "/metrics", "", http.StatusUnauthorized, 0},
		{"an empty token", "GET", "/metrics", "Bearer ", http.StatusUnauthorized, 0},
		{"a password", "GET", "/metrics", "Basic cHJvbWV0aGV1czp4", http.StatusUnauthorized, 0},
		{"an unknown token", "GET", "/metrics", "Bearer unknown", http.StatusUnauthorized, 1},
		{"no right", "GET", "/metrics", "Bearer someone", http.StatusForbidden, 2},
		{"a right to read only", "POST", "/metrics", "Bearer prometheus", http.StatusForbidden, 2},
		{"a right to another path", "GET", "/debug", "Bearer prometheus", http.StatusForbidden, 2},
		{"a right", "GET", "/metrics", "Bearer prometheus", http.StatusOK, 2},
		{"an API server that fails", "GET", "/metrics", "Bearer broken", http.StatusServiceUnavailable, 1},
		{"a review that is undecided", "GET", "/metrics", "Bearer undecided", http.StatusServiceUnavailable, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, metrics := protected(t)
			response := ask(t, metrics, test.method, test.path, test.authorization)
			_ = response.Body.Close()
			if response.StatusCode != test.want || s.reviews.Load() != test.reviews {
				t.Errorf("status %d after %d reviews", response.StatusCode, s.reviews.Load())
			}
			if challenge := response.Header.Get("WWW-Authenticate"); (challenge == "Bearer") != (test.want == http.StatusUnauthorized) {
				t.Errorf("it asks for %q", challenge)
			}
		})
	}
}

func TestMetricsAccess_RemembersWhoMayOnly(t *testing.T) {
	s, metrics := protected(t)
	for range 10 {
		for _, token := range []string{"prometheus", "unknown"} {
			response := ask(t, metrics, "GET", "/metrics", "Bearer "+token)
			_ = response.Body.Close()
		}
	}
	if n := s.reviews.Load(); n != 2+10 {
		t.Errorf("%d reviews", n)
	}
}
