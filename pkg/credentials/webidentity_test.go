package credentials_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	issuer  = "https://oidc.example.org/id/1"
	subject = "system:serviceaccount:kube-system:kube-aws-iam-controller"
)

// identityProvider signs tokens that STS trusts.
type identityProvider struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

// startWebIdentity points the SDK to the file of a token, which does not exist yet, of an issuer
// that STS trusts.
func startWebIdentity(t *testing.T, srv *ststest.Server) (*identityProvider, *volume) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	srv.TrustIssuer(issuer, func(string) (crypto.PublicKey, error) { return &key.PublicKey, nil })
	srv.SetSessionLifetime(time.Minute) // so that the token is needed each time
	v := newVolume(t, "token")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", v.path())
	t.Setenv("AWS_ROLE_ARN", node)
	return &identityProvider{t, key}, v
}

// token returns a token that is valid for an hour, unless claims replace that.
func (p *identityProvider) token(claims map[string]any) string {
	p.t.Helper()
	all := map[string]any{"iss": issuer, "sub": subject, "aud": []string{"sts.amazonaws.com"}, "exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text()}
	maps.Copy(all, claims)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func TestWebIdentity(t *testing.T) {
	srv := start(t)
	p, v := startWebIdentity(t, srv)
	srv.SetSessionLifetime(0)
	v.write(p.token(nil))
	var observed []string
	client := readyClient(t, observing(&observed), func(o *credentials.Options) { o.Intermediate.Name = "prod.controller" })
	assume(t, client, session(t, appRole))
	caller, err := client.Caller(t.Context())
	if err != nil || caller.ARN != "arn:aws:sts::123456789012:assumed-role/node/prod.controller" || !caller.Chained() {
		t.Errorf("the caller is %q, %v", caller.ARN, err)
	}
	// The SDK's own calls count, too.
	if want := []string{"AssumeRoleWithWebIdentity OK", "GetCallerIdentity OK", "AssumeRole OK"}; !slices.Equal(observed, want) {
		t.Errorf("observed %q", observed)
	}
}

func TestWebIdentity_Errors(t *testing.T) {
	absent := func(name string) (credentials.Kind, string, []string) {
		return credentials.Absent, "NoCredentials", []string{"/token of AWS_WEB_IDENTITY_TOKEN_FILE " + name, "projected volume"}
	}
	refused := func(kind credentials.Kind, code string, names ...string) (credentials.Kind, string, []string) {
		return kind, code, append(names, node, "AssumeRoleWithWebIdentity", code)
	}
	type failing struct {
		name  string
		order func(*ststest.Server, *identityProvider, *volume)
		want  func() (credentials.Kind, string, []string)
	}
	writing := func(claims map[string]any) func(*ststest.Server, *identityProvider, *volume) {
		return func(_ *ststest.Server, p *identityProvider, v *volume) { v.write(p.token(claims)) }
	}
	fault := func(f ststest.Fault) func(*ststest.Server, *identityProvider, *volume) {
		return func(srv *ststest.Server, _ *identityProvider, _ *volume) { srv.SetFault(f) }
	}
	for _, c := range []failing{
		{"no file", func(_ *ststest.Server, _ *identityProvider, v *volume) { v.remove() }, func() (credentials.Kind, string, []string) { return absent("does not exist") }},
		{"an empty file", func(_ *ststest.Server, _ *identityProvider, v *volume) { v.write("") }, func() (credentials.Kind, string, []string) { return absent("is empty") }},
		{"no token", func(_ *ststest.Server, _ *identityProvider, v *volume) { v.write("a-secret-that-is-no-token") }, func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "InvalidIdentityToken", "not a valid JWT", " is no token")
		}},
		{"too short for a token", func(_ *ststest.Server, _ *identityProvider, v *volume) { v.write("ab") }, func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "ValidationError", "AWS_ROLE_ARN")
		}},
		{"another audience", writing(map[string]any{"aud": "vault"}), func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "InvalidIdentityToken", "Incorrect token audience", `"vault"`, "OIDC provider in IAM")
		}},
		{"another issuer", writing(map[string]any{"iss": "https://elsewhere.example.org"}), func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "InvalidIdentityToken", `"https://elsewhere.example.org"`, "OIDC provider in IAM")
		}},
		{"a subject that would be more than one line", writing(map[string]any{"iss": "https://elsewhere.example.org", "sub": "a\nb"}), func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "InvalidIdentityToken", `"a\nb"`)
		}},
		{"an expired token", writing(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), func() (credentials.Kind, string, []string) {
			return refused(credentials.Expired, "ExpiredTokenException", "kubelet", "clock")
		}},
		{"a token of the future", writing(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), func() (credentials.Kind, string, []string) {
			return refused(credentials.Rejected, "IDPRejectedClaim", "not valid before")
		}},
		{"no trust", func(srv *ststest.Server, _ *identityProvider, _ *volume) { srv.Deny(node) }, func() (credentials.Kind, string, []string) {
			return refused(credentials.Denied, "AccessDenied", "trust policy", issuer, subject, "sts.amazonaws.com")
		}},
		{"an outage of STS", fault(ststest.ServiceUnavailable), func() (credentials.Kind, string, []string) {
			return refused(credentials.Unavailable, "ServiceUnavailable")
		}},
		{"throttling", fault(ststest.Throttled), func() (credentials.Kind, string, []string) { return refused(credentials.Throttled, "Throttling") }},
		{"no answer", fault(ststest.ConnectionReset), func() (credentials.Kind, string, []string) {
			return credentials.Unavailable, "NoAnswer", []string{node, "connection reset"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, behind := range []string{"", hub} { // without and with an intermediate role
				srv := start(t)
				once(t)
				p, v := startWebIdentity(t, srv)
				good := p.token(nil)
				v.write(good)
				c.order(srv, p, v)
				clock := newClock()
				client := newClient(t, func(o *credentials.Options) {
					o.Now = clock.Now
					if behind != "" {
						through(t)(o)
					}
				})
				_, err := client.Assume(t.Context(), session(t, appRole))
				kind, code, names := c.want()
				wantError(t, srv, err, kind, code, names...)
				wantNoToken(t, err, v)

				srv.Allow(node)
				srv.SetFault(ststest.NoFault)
				v.write(p.token(nil))
				clock.Step(credentials.CallerRetry)
				assume(t, client, session(t, appRole))
			}
		})
	}
}

// wantNoToken checks that an error shows nothing of the token but its issuer, subject and audience.
func wantNoToken(t *testing.T, err error, v *volume) {
	t.Helper()
	if strings.Contains(err.Error(), "Member must") {
		t.Errorf("the message quotes the token: %v", err)
	}
	for part := range strings.SplitSeq(v.text(), ".") {
		if len(part) > 2 && strings.Contains(err.Error(), part) {
			t.Errorf("a part of the token is shown: %v", err)
		}
	}
}

func TestWebIdentity_DeniedAdviceFitsTheAction(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		advice []string
	}{
		"no trust":         {"Not authorized to perform sts:AssumeRoleWithWebIdentity", []string{"Does the role exist", "trust policy let in that issuer"}},
		"an explicit deny": {"Not authorized to perform: sts:AssumeRoleWithWebIdentity with an explicit deny in a resource control policy", []string{"explicit deny, in a resource control policy"}},
		"tags":             {"Not authorized to perform: sts:TagSession", []string{"trust policy must allow sts:TagSession"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			p, v := startWebIdentity(t, srv)
			v.write(p.token(nil))
			srv.DenyWithMessage(node, c.answer)
			_, err := newClient(t).Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Denied, "AccessDenied", append(c.advice, node, issuer, subject, c.answer)...)
			wantNoToken(t, err, v)

			srv.DenyWithMessage(node, "Value '"+v.text()+"' is wrong")
			_, err = newClient(t).Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Denied, "AccessDenied", node)
			wantNoToken(t, err, v)
		})
	}
}

func TestWebIdentity_SessionNameOfTheEnvironment(t *testing.T) {
	srv := start(t)
	p, v := startWebIdentity(t, srv)
	v.write(p.token(nil))
	t.Setenv("AWS_ROLE_SESSION_NAME", "me")
	caller, err := newClient(t, func(o *credentials.Options) { o.Intermediate.Name = "prod.controller" }).Caller(t.Context())
	if err != nil || caller.ARN != "arn:aws:sts::123456789012:assumed-role/node/me" {
		t.Errorf("the caller is %q, %v", caller.ARN, err)
	}
}

// The kubelet replaces a token, and the file can be missing for a while.
func TestWebIdentity_TokenIsReplaced(t *testing.T) {
	srv := start(t)
	p, v := startWebIdentity(t, srv)
	v.write(p.token(nil))
	clock := newClock()
	client := readyClient(t, func(o *credentials.Options) { o.Now = clock.Now })
	assume(t, client, session(t, appRole))

	later := subject + "-later"
	v.write(p.token(map[string]any{"sub": later}))
	assume(t, client, session(t, appRole))
	calls := slices.DeleteFunc(srv.Calls(), func(c ststest.Call) bool { return c.Operation != "AssumeRoleWithWebIdentity" })
	if last := calls[len(calls)-1]; last.Subject != later {
		t.Errorf("STS was last given the token of %s", last.Subject)
	}

	v.remove()
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", v.path(), "does not exist")
	v.write(p.token(nil))
	clock.Step(credentials.CallerRetry)
	assume(t, client, session(t, appRole))
}

// A valid session needs no token.
func TestWebIdentity_ValidSessionNeedsNoToken(t *testing.T) {
	srv := start(t)
	p, v := startWebIdentity(t, srv)
	srv.SetSessionLifetime(0)
	v.write(p.token(nil))
	client := readyClient(t)
	v.remove()
	assume(t, client, session(t, appRole))
}

func TestIntermediateRole_OnAWebIdentity(t *testing.T) {
	srv := start(t)
	p, v := startWebIdentity(t, srv)
	srv.SetSessionLifetime(0)
	v.write(p.token(nil))
	srv.Trust(hub, func(c ststest.Call) bool { return c.CallerRoleARN == node })
	srv.Trust(appRole, func(c ststest.Call) bool { return c.CallerRoleARN == hub })
	assume(t, newClient(t, through(t)), session(t, appRole))

	srv.Trust(hub, func(ststest.Call) bool { return false })
	_, err := newClient(t, through(t)).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied", hub+", the role of --assume-role", "assumed-role/node/", "trust policy")
}
