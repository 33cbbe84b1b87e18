package webidentity_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/serviceaccounts"
	"kube-aws-iam-controller/pkg/webidentity"
)

// A rate limit can be waited for up to a minute. The policy can be gone by then.
func TestIssuer_PolicyRemovedDuringTheWait(t *testing.T) {
	var removed error
	clientset := fake.NewClientset()
	i := webidentity.Issuer{
		Accounts: clientset.CoreV1(), Audiences: []string{webidentity.DefaultAudience},
		Confined: func(context.Context) error { return removed },
		Rejected: func(context.Context, string, credentials.Redacted) error { return nil },
		AssumeBy: func(ctx context.Context, _ credentials.Session, getToken func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error) {
			removed = errors.New("removed") // while it waits
			_, err := getToken(ctx)
			return credentials.Credentials{}, err
		},
	}
	account := serviceaccounts.ServiceAccount{Name: types.NamespacedName{Namespace: "payments", Name: "orders"}, UID: "uid"}
	_, err := i.IdentitiesOf(&account).Assumer.Assume(t.Context(), credentials.Session{})
	if !errors.Is(err, removed) {
		t.Errorf("got %v", err)
	}
	if asked := clientset.Actions(); len(asked) > 0 {
		t.Errorf("the API server was asked: %v", asked)
	}
}
