package webidentity_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
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
	i := issuer(clientset)
	i.Confined = func(context.Context) error { return removed }
	i.AssumeBy = func(ctx context.Context, _ credentials.Session, getToken func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error) {
		removed = errors.New("removed") // while it waits
		_, err := getToken(ctx)
		return credentials.Credentials{}, err
	}
	_, err := i.IdentitiesOf(orders()).Assumer.Assume(t.Context(), credentials.Session{})
	if !errors.Is(err, removed) {
		t.Errorf("got %v", err)
	}
	if asked := clientset.Actions(); len(asked) > 0 {
		t.Errorf("the API server was asked: %v", asked)
	}
}

// What the API server answers is used only if it is what was requested.
func TestIssuer_ChecksTheToken(t *testing.T) {
	const subject = "system:serviceaccount:payments:orders"
	for _, c := range []struct {
		name, token, code string // of the error; "" if the token is used
	}{
		{"what was requested", token(`"sts.amazonaws.com"`, subject, "uid"), ""},
		{"the audience as a list", token(`["sts.amazonaws.com"]`, subject, "uid"), ""},
		{"no token", "", "BadToken"},
		{"no JSON Web Token", "secret", "BadToken"},
		{"another audience", token(`["https://kubernetes.default.svc"]`, subject, "uid"), "BadToken"},
		{"one audience more", token(`["sts.amazonaws.com","https://kubernetes.default.svc"]`, subject, "uid"), "BadToken"},
		{"no audience", token(`[]`, subject, "uid"), "BadToken"},
		{"another ServiceAccount", token(`"sts.amazonaws.com"`, subject+"2", "uid"), "BadToken"},
		{"another namespace", token(`"sts.amazonaws.com"`, "system:serviceaccount:billing:orders", "uid"), "BadToken"},
		{"a node", token(`"sts.amazonaws.com"`, "system:node:n", "uid"), "BadToken"},
		{"another UID", token(`"sts.amazonaws.com"`, subject, "uid-2"), "ServiceAccountReplaced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clientset := fake.NewClientset()
			clientset.PrependReactor("create", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: c.token}}, nil
			})
			var used credentials.Redacted
			i := issuer(clientset)
			i.AssumeBy = func(ctx context.Context, _ credentials.Session, getToken func(context.Context) (credentials.Redacted, error)) (_ credentials.Credentials, err error) {
				used, err = getToken(ctx)
				return credentials.Credentials{}, err
			}
			_, err := i.IdentitiesOf(orders()).Assumer.Assume(t.Context(), credentials.Session{})
			if (err == nil) != (c.code == "") || err != nil && credentials.CodeOf(err) != c.code {
				t.Fatalf("got %v, want the code %q", err, c.code)
			}
			if want := c.token; err == nil && used.Reveal() != want {
				t.Error("another token is used")
			}
			if err != nil && (used.Reveal() != "" || c.token != "" && strings.Contains(err.Error(), c.token)) {
				t.Errorf("the token gets out: %v", err)
			}
		})
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
			account := serviceaccounts.ServiceAccount{Name: types.NamespacedName{Namespace: "kube-system", Name: "controller"}, UID: "uid"}
			_, err := issuer(clientset).IdentitiesOf(&account).Assumer.Assume(t.Context(), credentials.Session{})
			if err == nil || credentials.CodeOf(err) != "TokenRefused" || credentials.KindOf(err) != credentials.Denied {
				t.Fatalf("got %v", err)
			}
			if text := err.Error(); !strings.Contains(text, c.says) || strings.Contains(text, c.saysNot) || !strings.Contains(text, c.refusal) {
				t.Errorf("got %q", text)
			}
		})
	}
}

// An audience that is not allowed is refused before a token is requested, whatever the policy.
func TestIssuer_AudienceNotAllowed(t *testing.T) {
	clientset := fake.NewClientset()
	i, account := issuer(clientset), orders()
	account.Request.Audience = "vault"
	_, err := i.IdentitiesOf(account).Assumer.Assume(t.Context(), credentials.Session{})
	if credentials.CodeOf(err) != "AudienceNotAllowed" || len(clientset.Actions()) > 0 {
		t.Errorf("got %v after %v", err, clientset.Actions())
	}
}

func token(audience, subject, uid string) string {
	payload := fmt.Sprintf(`{"aud":%s,"sub":%q,"kubernetes.io":{"serviceaccount":{"uid":%q}}}`, audience, subject, uid)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2VjcmV0"
}

func orders() *serviceaccounts.ServiceAccount {
	return &serviceaccounts.ServiceAccount{Name: types.NamespacedName{Namespace: "payments", Name: "orders"}, UID: "uid"}
}

// issuer returns an Issuer to which everything is allowed, and whose tokens give no credentials.
func issuer(clientset kubernetes.Interface) *webidentity.Issuer {
	return &webidentity.Issuer{
		Accounts: clientset.CoreV1(), Audiences: []string{webidentity.DefaultAudience},
		Confined: func(context.Context) error { return nil },
		Rejected: func(context.Context, string, credentials.Redacted) error { return nil },
		AssumeBy: func(ctx context.Context, _ credentials.Session, getToken func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error) {
			_, err := getToken(ctx)
			return credentials.Credentials{}, err
		},
	}
}
