package webidentity_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

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

// The texts of refusals are those of the policy, as an administrator installs it.
func TestIssuer_RefusedTokenIsExplained(t *testing.T) {
	policy, err := os.ReadFile("../../config/components/web-identity-per-serviceaccount/token.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, refusal string
		says, saysNot string
	}{
		{"the controller's own", "the controller creates no tokens of its own ServiceAccount", "another ServiceAccount", "audience"},
		{"another audience", "the controller creates tokens only for one audience of ", "--web-identity-audience", "another ServiceAccount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(string(policy), c.refusal) {
				t.Errorf("the policy does not say %q", c.refusal)
			}
			clientset := fake.NewClientset()
			clientset.PrependReactor("create", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(authenticationv1.Resource("serviceaccounts"), "controller",
					fmt.Errorf("ValidatingAdmissionPolicy 'policy' with binding 'policy' denied request: %s", c.refusal))
			})
			i := webidentity.Issuer{
				Accounts: clientset.CoreV1(), Audiences: []string{webidentity.DefaultAudience},
				Confined: func(context.Context) error { return nil },
				AssumeBy: func(ctx context.Context, _ credentials.Session, getToken func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error) {
					_, err := getToken(ctx)
					return credentials.Credentials{}, err
				},
			}
			account := serviceaccounts.ServiceAccount{Name: types.NamespacedName{Namespace: "kube-system", Name: "controller"}, UID: "uid"}
			_, err := i.IdentitiesOf(&account).Assumer.Assume(t.Context(), credentials.Session{})
			if err == nil || credentials.CodeOf(err) != "TokenRefused" || credentials.KindOf(err) != credentials.Denied {
				t.Fatalf("got %v", err)
			}
			if text := err.Error(); !strings.Contains(text, c.says) || strings.Contains(text, c.saysNot) || !strings.Contains(text, c.refusal) {
				t.Errorf("got %q", text)
			}
		})
	}
}
