package sts_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	ststest "kube-aws-iam-controller/test/sts"
)

const (
	issuer  = "https://oidc.example.org/id/1"
	subject = "system:serviceaccount:kube-system:kube-aws-iam-controller"
)

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// issuerKey is a private key of a token issuer. Its kid is its algorithm.
type issuerKey struct {
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

func newRSAKey(t *testing.T) issuerKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{jose.RS256, key}
}

func newECDSAKey(t *testing.T) issuerKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{jose.ES256, key}
}

// token returns a token with the claims, signed by the key.
func (k issuerKey) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	return signToken(t, k.algorithm, k.private, string(k.algorithm), claims)
}

func signToken(t *testing.T, algorithm jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// publish makes the server trust the issuer with these keys, and adds keys of kinds that it must
// ignore.
func publish(t *testing.T, srv *ststest.Server, trusted ...issuerKey) {
	t.Helper()
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []any{
		jose.JSONWebKey{Key: ed, KeyID: "ed"},
		map[string]any{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AA"},
	}
	for _, k := range trusted {
		keys = append(keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: string(k.algorithm), Use: "sig"})
	}
	source, err := ststest.ParseJWKS(mustJSON(t, map[string]any{"keys": keys}))
	if err != nil {
		t.Fatal(err)
	}
	srv.TrustIssuer(issuer, source)
}

func withToken(token string) *sts.AssumeRoleWithWebIdentityInput {
	return &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(roleARN),
		RoleSessionName:  aws.String("controller"),
		WebIdentityToken: aws.String(token),
	}
}

func goodClaims(now time.Time) map[string]any {
	return map[string]any{
		"iss": issuer, "sub": subject, "aud": []string{"kubernetes", "sts.amazonaws.com"},
		"exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(), "iat": now.Unix(),
	}
}

func TestWebIdentity_AcceptsTokensOfATrustedIssuer(t *testing.T) {
	for _, key := range []issuerKey{newRSAKey(t), newECDSAKey(t)} {
		t.Run(string(key.algorithm), func(t *testing.T) {
			srv := start(t)
			clock := fakeClock(srv)
			publish(t, srv, key)
			token := key.token(t, goodClaims(clock.Now()))
			out, err := client(srv, ststest.Keys{}).AssumeRoleWithWebIdentity(t.Context(), withToken(token))
			if err != nil {
				t.Fatal(err)
			}
			if *out.SubjectFromWebIdentityToken != subject || *out.Provider != issuer || *out.Audience != "sts.amazonaws.com" {
				t.Errorf("answer is %s, %s, %s", *out.SubjectFromWebIdentityToken, *out.Provider, *out.Audience)
			}
			identity, err := client(srv, keysOf(out.Credentials)).GetCallerIdentity(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := "arn:aws:sts::123456789012:assumed-role/app/controller"; *identity.Arn != want {
				t.Errorf("identity is %s, want %s", *identity.Arn, want)
			}
			if call := srv.Calls()[0]; call.Subject != subject || call.Issuer != issuer || call.Caller != "" {
				t.Errorf("call is %+v", call)
			}
			_, err = client(srv, keysOf(out.Credentials)).AssumeRole(t.Context(), request(lasting(3601)))
			wantError(t, err, 400, "ValidationError",
				"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
		})
	}
}

func TestWebIdentity_VerifiesTokens(t *testing.T) {
	srv := start(t)
	now := fakeClock(srv).Now()
	rs, es, foreign := newRSAKey(t), newECDSAKey(t), newRSAKey(t)
	publish(t, srv, rs, es)

	with := func(name string, value any) string {
		claims := goodClaims(now)
		claims[name] = value
		return rs.token(t, claims)
	}
	signed := func(algorithm jose.SignatureAlgorithm, key any, kid string) string {
		return signToken(t, algorithm, key, kid, goodClaims(now))
	}
	publicKey, err := x509.MarshalPKIXPublicKey(rs.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(with("nbf", now.Unix()), ".")
	unsigned := encode([]byte(`{"alg":"none","kid":"RS256"}`)) + "." + parts[1] + "."
	for name, test := range map[string]struct {
		token  string
		status int
		code   string
	}{
		"aud as a string":       {with("aud", "sts.amazonaws.com"), 0, ""},
		"no nbf":                {with("nbf", nil), 0, ""},
		"another audience":      {with("aud", "kubernetes"), 400, "InvalidIdentityToken"},
		"another issuer":        {with("iss", "https://elsewhere.example.org"), 400, "InvalidIdentityToken"},
		"no subject":            {with("sub", ""), 400, "InvalidIdentityToken"},
		"no expiry":             {with("exp", nil), 400, "InvalidIdentityToken"},
		"expired":               {with("exp", now.Unix()), 400, "ExpiredTokenException"},
		"not yet valid":         {with("nbf", now.Unix()+10), 403, "IDPRejectedClaim"},
		"claims of wrong types": {with("exp", "soon"), 400, "InvalidIdentityToken"},
		"a foreign key":         {foreign.token(t, goodClaims(now)), 400, "InvalidIdentityToken"},
		"an unknown key":        {signed(jose.RS256, rs.private, "other"), 400, "InvalidIdentityToken"},
		"alg none":              {unsigned + parts[2], 400, "InvalidIdentityToken"},
		"alg none, unsigned":    {unsigned, 400, "InvalidIdentityToken"},
		"kid of an RSA key":     {signed(jose.ES256, es.private, "RS256"), 400, "InvalidIdentityToken"},
		"kid of an EC key":      {signed(jose.RS256, rs.private, "ES256"), 400, "InvalidIdentityToken"},
		"another RSA algorithm": {signed(jose.PS256, rs.private, "RS256"), 400, "InvalidIdentityToken"},
		"public key as secret":  {signed(jose.HS256, publicKey, "RS256"), 400, "InvalidIdentityToken"},
		"short signature":       {parts[0] + "." + parts[1] + ".AA", 400, "InvalidIdentityToken"},
		"not a JWT":             {"just-a-token", 400, "InvalidIdentityToken"},
		"header not base64":     {"!." + parts[1] + "." + parts[2], 400, "InvalidIdentityToken"},
		"claims not JSON":       {parts[0] + ".AAAA." + parts[2], 400, "InvalidIdentityToken"},
		"signature not base64":  {parts[0] + "." + parts[1] + ".!", 400, "InvalidIdentityToken"},
		"too short":             {"abc", 400, "ValidationError"},
		"too long":              {strings.Repeat("x", 20001), 400, "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(srv, ststest.Keys{}).AssumeRoleWithWebIdentity(t.Context(), withToken(test.token))
			if test.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.status, test.code, "")
			if strings.Contains(err.Error(), test.token) {
				t.Errorf("the error contains the token: %v", err)
			}
		})
	}
}

func TestWebIdentity_FollowsSettings(t *testing.T) {
	srv := start(t)
	key := newRSAKey(t)
	publish(t, srv, key)
	token := key.token(t, goodClaims(time.Now()))
	c := client(srv, ststest.Keys{})
	try := func(change func(*sts.AssumeRoleWithWebIdentityInput)) error {
		in := withToken(token)
		change(in)
		_, err := c.AssumeRoleWithWebIdentity(t.Context(), in)
		return err
	}
	asIs := func(*sts.AssumeRoleWithWebIdentityInput) {}

	srv.Trust(roleARN, func(call ststest.Call) bool { return call.Issuer == issuer && call.Subject == "someone else" })
	wantError(t, try(asIs), 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	srv.Trust(roleARN, nil)

	wantError(t, try(func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(7200) }), 400, "ValidationError",
		"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	wantError(t, try(func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String("{") }), 400, "MalformedPolicyDocument", "")

	srv.SetAudience("mine")
	wantError(t, try(asIs), 400, "InvalidIdentityToken", "Incorrect token audience")
	srv.SetAudience("mine", "kubernetes")
	if err := try(asIs); err != nil {
		t.Error(err)
	}
	srv.TrustIssuer(issuer, func(string) (crypto.PublicKey, error) { return nil, errors.New("unreachable") })
	wantError(t, try(asIs), 400, "InvalidIdentityToken", "")
	srv.TrustIssuer(issuer, func(string) (crypto.PublicKey, error) { return []byte("symmetric"), nil })
	wantError(t, try(asIs), 400, "InvalidIdentityToken", "")
}

func TestParseJWKS_RejectsBrokenKeySets(t *testing.T) {
	for name, document := range map[string]string{
		"not JSON":           `{`,
		"no keys":            `{"keys":[]}`,
		"unsupported only":   `{"keys":[{"kty":"EC","crv":"P-384","kid":"a"}]}`,
		"n not base64":       `{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}`,
		"no kty":             `{"keys":[{"kid":"a"}]}`,
		"e not base64":       `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"!"}]}`,
		"no e":               `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB"}]}`,
		"x not base64":       `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"!","y":"AA"}]}`,
		"y not base64":       `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"!"}]}`,
		"x too short":        `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}`,
		"point not on curve": `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"` + encode(make([]byte, 32)) + `","y":"` + encode(make([]byte, 32)) + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ststest.ParseJWKS([]byte(document)); err == nil {
				t.Error("accepted")
			}
		})
	}
}
