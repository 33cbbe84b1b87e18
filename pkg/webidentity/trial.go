package webidentity

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"kube-aws-iam-controller/pkg/credentials"
)

// rejectedLife is how long it is believed that the API server accepts no tokens of an audience.
// That changes with its flags, and each trial is a failed authentication in its audit log.
const rejectedLife = time.Hour

// Trial finds out whether the API server accepts tokens of an audience, as it does those of
// --api-audiences: with such a token the controller could act as the ServiceAccount. It is safe for
// concurrent use.
type Trial struct {
	// Config is how to reach the API server. Its credentials are not used.
	Config *rest.Config
	Clock  clock.PassiveClock

	lock sync.Mutex
	// rejected is when a token of an audience was last rejected.
	rejected map[string]time.Time
}

// Rejected returns nil if the API server rejects tokens of an audience, of which token is one. It
// remembers that for an hour.
func (t *Trial) Rejected(ctx context.Context, audience string, token credentials.Redacted) error {
	if t.wasRejected(audience) {
		return nil
	}
	anonymous := rest.AnonymousClientConfig(t.Config)
	anonymous.BearerToken = token.Reveal()
	client, err := authenticationclient.NewForConfig(anonymous)
	if err != nil {
		return unknownAudience(audience, err)
	}
	_, err = client.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	switch {
	case apierrors.IsUnauthorized(err):
		t.lock.Lock()
		defer t.lock.Unlock()
		if t.rejected == nil {
			t.rejected = map[string]time.Time{}
		}
		t.rejected[audience] = t.Clock.Now()
		return nil
	case err == nil || apierrors.IsForbidden(err):
		return credentials.NewError(credentials.Absent, "AudienceAccepted", fmt.Sprintf("the controller uses no tokens for the audience %s, as the API server "+
			"itself accepts them: with one the controller could act as the ServiceAccount. Remove the audience from --api-audiences of the API server, or use "+
			"another one (--web-identity-audience)", audience))
	default:
		return unknownAudience(audience, err)
	}
}

// wasRejected reports whether a token of an audience was rejected lately.
func (t *Trial) wasRejected(audience string) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	at, ok := t.rejected[audience]
	return ok && t.Clock.Since(at) < rejectedLife
}

func unknownAudience(audience string, why error) error {
	return credentials.NewError(credentials.Unavailable, "AudienceUnknown", fmt.Sprintf("it is not known whether the API server accepts tokens for the audience %s, "+
		"and the controller uses none until it is. Tried again: %v", audience, why))
}
