package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// maxTokenReviews is how many clients the API server is asked about at the same time.
	maxTokenReviews = 4
	// reviewTimeout bounds both questions about a client.
	reviewTimeout = 5 * time.Second
	// maxAllowedClients is how many clients are remembered that may read the metrics, and
	// allowedClientTTL for how long. Who may not is not remembered, and so cannot push out who
	// may.
	maxAllowedClients = 64
	allowedClientTTL  = time.Minute
)

// metricsAccess lets those read the metrics whose bearer token the API server knows, and who have
// the right to get the nonResourceURL /metrics. It does what controller-runtime's
// filters.WithAuthenticationAndAuthorization does without k8s.io/apiserver, which doubles the
// size of the binary.
type metricsAccess struct {
	tokens    authenticationclient.TokenReviewInterface
	rights    authorizationclient.SubjectAccessReviewInterface
	reviewing chan struct{}
	allowed   *cache.LRUExpireCache // by what clientKey returns
}

func newMetricsAccess(config *rest.Config, client *http.Client) (*metricsAccess, error) {
	authentication, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the authentication of who reads metrics: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the authorization of who reads metrics: %w", err)
	}
	return &metricsAccess{
		tokens:    authentication.TokenReviews(),
		rights:    authorization.SubjectAccessReviews(),
		reviewing: make(chan struct{}, maxTokenReviews),
		allowed:   cache.NewLRUExpireCache(maxAllowedClients),
	}, nil
}

// require answers requests of clients without a valid token with 401, of those without the right
// with 403, and with 503 while the API server does not say.
func (a *metricsAccess) require(log logr.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := a.check(r.Context(), log, r)
		if status == http.StatusOK {
			next.ServeHTTP(w, r)
			return
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		refuseScrape(w, status)
	})
}

// clientKey identifies a client and what it asks for, without keeping its token.
type clientKey struct {
	token      [sha256.Size]byte
	verb, path string
}

// check returns the status of the answer to a request, which is 200 if the client may have what
// it asks for.
func (a *metricsAccess) check(ctx context.Context, log logr.Logger, r *http.Request) int {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return http.StatusUnauthorized
	}
	key := clientKey{sha256.Sum256([]byte(token)), strings.ToLower(r.Method), r.URL.Path}
	if _, ok := a.allowed.Get(key); ok {
		return http.StatusOK
	}
	select {
	case a.reviewing <- struct{}{}:
		defer func() { <-a.reviewing }()
	default:
		return http.StatusServiceUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	status, err := a.review(ctx, token, key)
	switch {
	case err != nil:
		log.Error(err, "Cannot review who asks for metrics")
		return http.StatusServiceUnavailable
	case status == http.StatusOK:
		a.allowed.Add(key, struct{}{}, allowedClientTTL)
	}
	return status
}

// review asks the API server who a client is and whether it may have what it asks for.
func (a *metricsAccess) review(ctx context.Context, token string, key clientKey) (status int, err error) {
	who, err := a.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("create TokenReview: %w", err)
	case !who.Status.Authenticated:
		return http.StatusUnauthorized, nil
	}
	spec := authorizationv1.SubjectAccessReviewSpec{
		User:                  who.Status.User.Username,
		UID:                   who.Status.User.UID,
		Groups:                who.Status.User.Groups,
		Extra:                 map[string]authorizationv1.ExtraValue{},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: key.path, Verb: key.verb},
	}
	for name, value := range who.Status.User.Extra {
		spec.Extra[name] = authorizationv1.ExtraValue(value)
	}
	right, err := a.rights.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("create SubjectAccessReview: %w", err)
	case right.Status.Allowed:
		return http.StatusOK, nil
	case right.Status.EvaluationError != "":
		return 0, fmt.Errorf("SubjectAccessReview is undecided: %s", right.Status.EvaluationError)
	default:
		return http.StatusForbidden, nil
	}
}
