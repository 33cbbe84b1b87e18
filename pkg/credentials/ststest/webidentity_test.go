package ststest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"kube-aws-iam-controller/pkg/credentials/ststest"
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

// signer signs tokens, and publishes its key as a JWK.
type signer struct {
	algorithm string
	sign      func(t *testing.T, digest []byte) []byte
	jwk       map[string]any
}

func rsaSigner(t *testing.T) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{"RS256", func(t *testing.T, digest []byte) []byte {
		t.Helper()
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}, map[string]any{"kty": "RSA", "kid": "RS256", "use": "sig", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}}
}

func ecdsaSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return signer{"ES256", func(t *testing.T, digest []byte) []byte {
		t.Helper()
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}, map[string]any{"kty": "EC", "kid": "ES256", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}}
}

func (s signer) token(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	signed := encode(mustJSON(t, header)) + "." + encode(mustJSON(t, claims))
	digest := sha256.Sum256([]byte(signed))
	return signed + "." + encode(s.sign(t, digest[:]))
}

// publish makes the server trust the issuer with the signers' keys, and some that it cannot use.
func publish(t *testing.T, srv *ststest.Server, signers ...signer) {
	t.Helper()
	keys := []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AA"}}
	for _, s := range signers {
		keys = append(keys, s.jwk)
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

func TestWebIdentityTokensOfATrustedIssuerAreTaken(t *testing.T) {
	for _, s := range []signer{rsaSigner(t), ecdsaSigner(t)} {
		t.Run(s.algorithm, func(t *testing.T) {
			srv := start(t)
			clock := fakeClock(srv)
			publish(t, srv, s)
			token := s.token(t, map[string]any{"alg": s.algorithm, "kid": s.algorithm}, goodClaims(clock.Now()))
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

func TestWebIdentityTokensAreVerified(t *testing.T) {
	srv := start(t)
	now := fakeClock(srv).Now()
	rs, es, stranger := rsaSigner(t), ecdsaSigner(t), rsaSigner(t)
	publish(t, srv, rs, es)

	with := func(name string, value any) string {
		claims := goodClaims(now)
		claims[name] = value
		return rs.token(t, map[string]any{"alg": "RS256", "kid": "RS256"}, claims)
	}
	headed := func(s signer, algorithm, kid string) string {
		return s.token(t, map[string]any{"alg": algorithm, "kid": kid}, goodClaims(now))
	}
	parts := strings.Split(with("nbf", now.Unix()), ".")
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
		"a stranger's key":      {headed(stranger, "RS256", "RS256"), 400, "InvalidIdentityToken"},
		"an unknown key":        {headed(rs, "RS256", "other"), 400, "InvalidIdentityToken"},
		"alg none":              {headed(rs, "none", "RS256"), 400, "InvalidIdentityToken"},
		"alg of another key":    {headed(rs, "ES256", "RS256"), 400, "InvalidIdentityToken"},
		"key of another alg":    {headed(rs, "RS256", "ES256"), 400, "InvalidIdentityToken"},
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
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

func TestWebIdentityFollowsOrders(t *testing.T) {
	srv := start(t)
	s := rsaSigner(t)
	publish(t, srv, s)
	now := time.Now()
	token := s.token(t, map[string]any{"alg": "RS256", "kid": "RS256"}, goodClaims(now))
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

func TestBrokenKeySetsAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"not JSON":           `{`,
		"no keys":            `{"keys":[]}`,
		"unsupported only":   `{"keys":[{"kty":"EC","crv":"P-384","kid":"a"}]}`,
		"n not base64":       `{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}`,
		"e not base64":       `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"!"}]}`,
		"no e":               `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB"}]}`,
		"x not base64":       `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"!","y":"AA"}]}`,
		"y not base64":       `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"!"}]}`,
		"x too short":        `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}`,
		"point not on curve": `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"` + encode(make([]byte, 32)) + `","y":"` + encode(make([]byte, 32)) + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ststest.ParseJWKS([]byte(document)); err == nil {
				t.Error("taken")
			}
		})
	}
}
