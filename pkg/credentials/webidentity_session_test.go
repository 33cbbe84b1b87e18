package credentials_test

import (
	"context"
	"crypto"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

const ordersSubject = "system:serviceaccount:payments:orders"

// tokensOf returns an STS that trusts an issuer, the issuer, and a function that returns a new
// token of the ServiceAccount payments/orders. The SDK has no credentials.
func tokensOf(t *testing.T) (*ststest.Server, *identityProvider, func(map[string]any) func(context.Context) (credentials.Redacted, error)) {
	t.Helper()
	srv := start(t)
	p, _ := startWebIdentity(t, srv)
	srv.SetSessionLifetime(0)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "")
	t.Setenv("AWS_ROLE_ARN", "")
	return srv, p, func(claims map[string]any) func(context.Context) (credentials.Redacted, error) {
		return func(context.Context) (credentials.Redacted, error) {
			all := map[string]any{"sub": ordersSubject}
			maps.Copy(all, claims)
			return credentials.Redact(p.token(all)), nil
		}
	}
}

func TestWebIdentitySession(t *testing.T) {
	srv, _, token := tokensOf(t)
	srv.SetMaxSessionDuration(appRole, 12*time.Hour)
	var observed []string
	client := newClient(t, observing(&observed))
	s := session(t, appRole)
	s.Duration, s.ExternalID, s.Tags = 12*time.Hour, "external", map[string]string{"kubernetes-namespace": "payments"}
	got, err := client.WebIdentity(100).Assume(t.Context(), s, token(nil))
	if err != nil {
		t.Fatal(err)
	}
	call := srv.Calls()[0]
	if call.Subject != ordersSubject || call.RoleARN != appRole || call.SessionName != s.Name || call.ExternalID != "" || len(call.Tags) > 0 || call.Caller != "" {
		t.Errorf("the call is %+v", call)
	}
	if got.AccessKeyID != call.AccessKeyID || got.Expires.Sub(got.Issued) < 12*time.Hour-time.Minute {
		t.Errorf("the credentials are %+v", got)
	}
	if !slices.Equal(observed, []string{"AssumeRoleWithWebIdentity OK"}) {
		t.Errorf("observed %q", observed)
	}
	if !client.Clock().Trusted() {
		t.Error("the clock is not known by the answer")
	}
}

func TestWebIdentitySession_Errors(t *testing.T) {
	explicit := "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a resource control policy"
	for _, c := range []struct {
		name   string
		claims map[string]any
		order  func(*ststest.Server)
		kind   credentials.Kind
		code   string
		says   []string
	}{
		{"an unknown issuer", map[string]any{"iss": "https://elsewhere.example.org"}, nil, credentials.Rejected, "InvalidIdentityToken", []string{
			"No OpenIDConnect provider", "Account 123456789012 has no identity provider", "create-open-id-connect-provider --url https://elsewhere.example.org --client-id-list sts.amazonaws.com", "payments/orders",
		}},
		{"keys that cannot be fetched", nil, func(srv *ststest.Server) {
			srv.TrustIssuer(issuer, func(string) (crypto.PublicKey, error) { return nil, errors.New("no such key") })
		}, credentials.Rejected, "InvalidIdentityToken", []string{issuer + "/.well-known/openid-configuration", "jwks_uri"}},
		{"an audience that the provider lacks", map[string]any{"aud": "vault"}, nil, credentials.Rejected, "InvalidIdentityToken", []string{
			"add-client-id-to-open-id-connect-provider --client-id vault", issuer,
		}},
		{"an expired token", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, nil, credentials.Rejected, "ExpiredTokenException", []string{"clock of the API server is behind"}},
		{"a token that is not valid yet", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, nil, credentials.Rejected, "IDPRejectedClaim", []string{"clock of the API server is ahead"}},
		{"a role that does not trust it", nil, func(srv *ststest.Server) { srv.Deny(appRole) }, credentials.Denied, "AccessDenied", []string{
			appRole, `{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.org/id/1"}`,
			`{"StringEquals":{"oidc.example.org/id/1:sub":"system:serviceaccount:payments:orders","oidc.example.org/id/1:aud":"sts.amazonaws.com"}}`,
		}},
		{"an explicit deny", nil, func(srv *ststest.Server) { srv.DenyWithMessage(appRole, explicit) }, credentials.Denied, "AccessDenied", []string{"resource control policy (RCP)"}},
		{"too long a session", nil, func(srv *ststest.Server) { srv.SetMaxSessionDuration(appRole, 15*time.Minute) }, credentials.Rejected, "ValidationError", []string{"MaxSessionDuration"}},
		{"an issuer that did not answer", nil, func(srv *ststest.Server) { srv.SetFault(ststest.IDPCommunication) }, credentials.Unavailable, "IDPCommunicationError", []string{issuer, "tried again"}},
		{"throttling", nil, func(srv *ststest.Server) { srv.SetFault(ststest.Throttled) }, credentials.Throttled, "Throttling", []string{"--web-identity-qps"}},
		{"no answer", nil, func(srv *ststest.Server) { srv.SetFault(ststest.ConnectionReset) }, credentials.Unavailable, "NoAnswer", []string{"tried again", "payments/orders"}},
		{"a bad answer", nil, func(srv *ststest.Server) { srv.SetFault(ststest.MissingCredentials) }, credentials.Unavailable, "BadAnswer", []string{appRole}},
		{"a message that quotes a token", nil, func(srv *ststest.Server) {
			srv.DenyWithMessage(appRole, "eyJhbGciOiJub25lIn0.eyJzZWNyZXQiOiJzIn0.c2lnbmF0dXJl is bad")
		}, credentials.Denied, "AccessDenied", []string{"[redacted] is bad"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, _, token := tokensOf(t)
			once(t)
			if c.order != nil {
				c.order(srv)
			}
			_, err := newClient(t).WebIdentity(100).Assume(t.Context(), session(t, appRole), token(c.claims))
			wantError(t, srv, err, c.kind, c.code, c.says...)
		})
	}
}

func TestWebIdentitySession_LongNamesFitIntoAnEvent(t *testing.T) {
	srv, p, token := tokensOf(t)
	long := "https://oidc.example.org/" + strings.Repeat("x", 230)
	srv.TrustIssuer(long, func(string) (crypto.PublicKey, error) { return &p.key.PublicKey, nil })
	target := "arn:aws:iam::123456789012:role/" + strings.Repeat("path/", 100) + "app"
	srv.DenyWithMessage(target, strings.Repeat("no ", 1000))
	claims := map[string]any{"iss": long, "sub": "system:serviceaccount:" + strings.Repeat("n", 63) + ":" + strings.Repeat("a", 253), "aud": strings.Repeat("a", 255)}
	srv.SetAudience(strings.Repeat("a", 255))
	_, err := newClient(t).WebIdentity(100).Assume(t.Context(), session(t, target), token(claims))
	if credentials.KindOf(err) != credentials.Denied || len(err.Error()) > 1024 {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}
}

// The issuer is tried again within the call, with the same token.
func TestWebIdentitySession_IssuerIsTriedAgain(t *testing.T) {
	srv, _, token := tokensOf(t)
	srv.FaultNext(1, ststest.IDPCommunication)
	if _, err := newClient(t).WebIdentity(100).Assume(t.Context(), session(t, appRole), token(nil)); err != nil {
		t.Fatal(err)
	}
	if got := operations(srv); !slices.Equal(got, []string{"AssumeRoleWithWebIdentity IDPCommunicationError", "AssumeRoleWithWebIdentity"}) {
		t.Errorf("the calls are %q", got)
	}
}

func TestWebIdentitySession_Limit(t *testing.T) {
	srv, _, token := tokensOf(t)
	web := newClient(t).WebIdentity(0.001)
	if _, err := web.Assume(t.Context(), session(t, appRole), token(nil)); err != nil {
		t.Fatal(err)
	}
	_, err := web.Assume(impatient(t, 10*time.Millisecond), session(t, appRole), func(context.Context) (credentials.Redacted, error) {
		t.Error("a token is requested before it can be used")
		return credentials.Redacted{}, nil
	})
	wantError(t, srv, err, credentials.Throttled, "LocalRateLimit", "--web-identity-qps")
}

func TestReadClaims(t *testing.T) {
	_, p, _ := tokensOf(t)
	got, err := credentials.ReadClaims(credentials.Redact(p.token(map[string]any{
		"sub": ordersSubject, "aud": []string{"a", "b"}, "kubernetes.io": map[string]any{"serviceaccount": map[string]any{"uid": "uid-1"}},
	})))
	if err != nil || got.Issuer != issuer || got.Subject != ordersSubject || !slices.Equal(got.Audiences, []string{"a", "b"}) || got.ServiceAccountUID != "uid-1" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "secret", "a.b.c", "a.e30", "..", "a.W10.c"} {
		got, err := credentials.ReadClaims(credentials.Redact(text))
		if text == "a.e30" && err != nil || text != "a.e30" && err == nil || text != "" && err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}

func TestIsKnownOwnRole(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := newClient(t)
	if client.IsKnownOwnRole(arn(t, node)) || len(srv.Calls()) > 0 {
		t.Error("known without a call, or by one")
	}
	if _, err := client.Caller(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !client.IsKnownOwnRole(arn(t, node)) || client.IsKnownOwnRole(arn(t, appRole)) {
		t.Error("its own role is another")
	}
}

// A role that the settings name is known although nothing was asked.
func TestIsKnownOwnRole_BySetting(t *testing.T) {
	t.Run("IAM Roles Anywhere", func(t *testing.T) {
		c := startRolesAnywhere(t)
		client := newClient(t, c.anywhere(t))
		if !client.IsKnownOwnRole(arn(t, baseRole)) || !client.IsKnownOwnRole(arn(t, "arn:aws:iam::123456789012:role/Controller")) || client.IsKnownOwnRole(arn(t, appRole)) {
			t.Error("its own role is another")
		}
		if len(c.service.Calls())+len(c.sts.Calls()) > 0 {
			t.Error("AWS was asked")
		}
	})
	t.Run("AWS_ROLE_ARN", func(t *testing.T) {
		start(t)
		t.Setenv("AWS_ROLE_ARN", node)
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/does/not/exist")
		if client := newClient(t); !client.IsKnownOwnRole(arn(t, node)) || client.IsKnownOwnRole(arn(t, appRole)) {
			t.Error("its own role is another")
		}
	})
}
