package credentials_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/test/rolesanywhere"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	anchor   = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/11111111-2222-4333-8444-555555555555"
	profile  = "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/66666666-7777-4888-9999-000000000000"
	baseRole = "arn:aws:iam::123456789012:role/infra/controller"
)

// offAWS is a cluster off AWS: an IAM Roles Anywhere beside an STS, and a certificate directory.
type offAWS struct {
	sts     *ststest.Server
	service *rolesanywhere.Server
	ca      *rolesanywhere.CA
	dir     string
}

// startRolesAnywhere starts both services, with a CA as trust anchor and a certificate of it.
func startRolesAnywhere(t *testing.T) *offAWS {
	t.Helper()
	c := &offAWS{sts: start(t), ca: rolesanywhere.NewCA("root"), dir: t.TempDir()}
	c.service = rolesanywhere.New(c.sts)
	c.service.SetTrustAnchor(anchor, c.ca.Certificate)
	c.service.SetProfile(profile, baseRole)
	server := httptest.NewServer(c.service)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", server.URL)
	key := newECDSA(t, elliptic.P256())
	c.mount(c.ca.Issue("kube-aws-iam-controller", key), rolesanywhere.EncodeKey(key))
	return c
}

func (c *offAWS) mount(certificate, key []byte) {
	rolesanywhere.Mount(c.dir, map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": []byte("not sent")})
}

// anywhere returns the change to options that uses the certificate.
func (c *offAWS) anywhere(t *testing.T) func(*credentials.Options) {
	t.Helper()
	parsed, err := credentials.ParseRolesAnywhere(anchor, profile, baseRole, c.dir)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *credentials.Options) { o.RolesAnywhere = parsed }
}

// lastCall returns the last call of CreateSession.
func (c *offAWS) lastCall(t *testing.T) rolesanywhere.Call {
	t.Helper()
	calls := c.service.Calls()
	if len(calls) == 0 {
		t.Fatal("there was no call of CreateSession")
	}
	return calls[len(calls)-1]
}

func newECDSA(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRolesAnywhere_AllKindsOfKeys(t *testing.T) {
	rsaKey, p256 := newRSA(t), newECDSA(t, elliptic.P256())
	ec, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	p384, p521 := newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521())
	for name, c := range map[string]struct {
		key       crypto.Signer
		text      []byte
		algorithm string
	}{
		"RSA, PKCS #8":                 {rsaKey, rolesanywhere.EncodeKey(rsaKey), "AWS4-X509-RSA-SHA256"},
		"RSA, PKCS #1":                 {rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}), "AWS4-X509-RSA-SHA256"},
		"P-256, PKCS #8":               {p256, rolesanywhere.EncodeKey(p256), "AWS4-X509-ECDSA-SHA256"},
		"P-256, SEC 1, with its curve": {p256, append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ec})...), "AWS4-X509-ECDSA-SHA256"},
		"P-384":                        {p384, rolesanywhere.EncodeKey(p384), "AWS4-X509-ECDSA-SHA256"},
		"P-521":                        {p521, rolesanywhere.EncodeKey(p521), "AWS4-X509-ECDSA-SHA256"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := startRolesAnywhere(t)
			cluster.mount(cluster.ca.Issue("kube-aws-iam-controller", c.key), c.text)
			client := newClient(t, cluster.anywhere(t))
			assume(t, client, session(t, appRole))
			if got := cluster.lastCall(t); got.Algorithm != c.algorithm || got.Chain != 0 {
				t.Errorf("signed by %+v", got)
			}
			if caller, err := client.Caller(t.Context()); err != nil || !caller.Is(arn(t, baseRole)) || !caller.SourceIdentity {
				t.Errorf("the caller is %+v: %v", caller, err)
			}
			if left := time.Until(client.BaseExpires()); left < 59*time.Minute || left > time.Hour {
				t.Errorf("the base session lasts %s", left)
			}
		})
	}
}

func TestRolesAnywhere_IntermediateChain(t *testing.T) {
	cluster := startRolesAnywhere(t)
	key := newECDSA(t, elliptic.P256())
	issuing := cluster.ca.Intermediate("policy").Intermediate("issuing")
	chain := issuing.Issue("kube-aws-iam-controller", key)
	for name, text := range map[string][]byte{
		"as cert-manager writes it":     chain,
		"the root too, which is left":   append(slices.Clone(chain), rolesanywhere.EncodeCertificates(cluster.ca.Certificate)...),
		"the certificate behind others": append(rolesanywhere.EncodeCertificates(issuing.Certificate), chain...),
	} {
		t.Run(name, func(t *testing.T) {
			cluster.mount(text, rolesanywhere.EncodeKey(key))
			assume(t, newClient(t, cluster.anywhere(t)), session(t, appRole))
			if got := cluster.lastCall(t); got.Chain < 2 || !strings.Contains(got.Subject, "kube-aws-iam-controller") {
				t.Errorf("sent %+v", got)
			}
		})
	}
}

func TestCertificate_ValidWithItsChain(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now().UTC().Truncate(time.Second)
	valid := func(from, to time.Duration) func(*x509.Certificate) {
		return rolesanywhere.Valid(now.Add(from), now.Add(to))
	}
	root, key := rolesanywhere.NewCA("root"), newECDSA(t, elliptic.P256())
	own := func(ca *rolesanywhere.CA) []byte {
		return ca.Issue("kube-aws-iam-controller", key, valid(-day, 6*day))
	}
	stray := root.Intermediate("stray", valid(-3*day, -2*day)).Certificate
	long, short := root.Intermediate("issuing", valid(-9*day, 90*day)), root.Intermediate("issuing", valid(0, day))
	for name, c := range map[string]struct {
		text                     []byte
		begins, expires          time.Duration // from now on
		beginsWith, expiresFirst string        // the intermediate certificate
		lifetime                 time.Duration
	}{
		"no chain":                      {text: own(root), begins: -day, expires: 6 * day, lifetime: 7 * day},
		"the CA is valid for longer":    {text: own(long), begins: -day, expires: 6 * day, lifetime: 7 * day},
		"the CA expires first":          {own(root.Intermediate("issuing", valid(-9*day, 5*day))), -day, 5 * day, "", "CN=issuing", 14 * day},
		"the CA begins last":            {own(root.Intermediate("issuing", valid(-time.Hour, 90*day))), -time.Hour, 6 * day, "CN=issuing", "", 7 * day},
		"both, of two CAs":              {own(root.Intermediate("policy", valid(-9*day, 5*day)).Intermediate("issuing", valid(-time.Hour, 90*day))), -time.Hour, 5 * day, "CN=issuing", "CN=policy", 14 * day},
		"both expire at once":           {own(root.Intermediate("issuing", valid(-9*day, 6*day))), -day, 6 * day, "", "CN=issuing", 15 * day},
		"a CA that is not its issuer":   {text: slices.Concat(own(long), rolesanywhere.EncodeCertificates(stray)), begins: -day, expires: 6 * day, lifetime: 7 * day},
		"a CA of the same name":         {slices.Concat(own(short), rolesanywhere.EncodeCertificates(long.Certificate)), 0, day, "CN=issuing", "CN=issuing", day},
		"the certificate behind its CA": {slices.Concat(rolesanywhere.EncodeCertificates(short.Certificate), own(short)), 0, day, "CN=issuing", "CN=issuing", day},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := startRolesAnywhere(t)
			cluster.mount(c.text, rolesanywhere.EncodeKey(key))
			got, ok := newClient(t, cluster.anywhere(t)).Certificate()
			if !ok || got.Problem != "" || !strings.Contains(got.Subject, "kube-aws-iam-controller") {
				t.Fatalf("the certificate is %+v", got)
			}
			if !got.NotBefore.Equal(now.Add(c.begins)) || !got.NotAfter.Equal(now.Add(c.expires)) || got.Lifetime != c.lifetime {
				t.Errorf("it is valid from %s to %s, for %s; now is %s", got.NotBefore, got.NotAfter, got.Lifetime, now)
			}
			if got.NotBeforeOf != c.beginsWith || got.NotAfterOf != c.expiresFirst {
				t.Errorf("%q begins last, %q expires first", got.NotBeforeOf, got.NotAfterOf)
			}
		})
	}
}

// A CA that was renewed with its key has two certificates in the file for a while.
func TestCertificate_RenewedCAOfTheSameKey(t *testing.T) {
	cluster := startRolesAnywhere(t)
	key, now := newECDSA(t, elliptic.P256()), time.Now()
	issuing := cluster.ca.Intermediate("issuing", rolesanywhere.Valid(now.Add(-2*time.Hour), now.Add(-time.Hour)))
	text := issuing.Issue("kube-aws-iam-controller", key)
	cluster.mount(append(text, cluster.ca.Renew(issuing)...), rolesanywhere.EncodeKey(key))
	client := newClient(t, cluster.anywhere(t))
	if got, _ := client.Certificate(); got.Check(now) != nil {
		t.Errorf("the certificate is %+v", got)
	}
	assume(t, client, session(t, appRole))
}

func TestRolesAnywhere_FilesAreReadAgain(t *testing.T) {
	cluster := startRolesAnywhere(t)
	once(t)
	client := newClient(t, cluster.anywhere(t))
	again := func() { // a new session
		t.Helper()
		if _, err := client.Caller(t.Context()); err != nil {
			t.Fatal(err)
		}
		cluster.sts.Revoke(cluster.lastCall(t).AccessKeyID)
		assume(t, client, session(t, appRole))
	}
	again()
	first := cluster.lastCall(t).Serial

	key := newRSA(t)
	next := cluster.ca.Issue("kube-aws-iam-controller", key)
	cluster.mount(next, []byte("-----BEGIN PRIVATE KEY-----\nhalf")) // half-written: the last pair stays
	again()
	if got := cluster.lastCall(t).Serial; got != first {
		t.Errorf("the certificate is %s, not the last good one", got)
	}
	if described, ok := client.Certificate(); !ok || !strings.Contains(described.Problem, "tls.key") || described.Check(time.Now()) != nil {
		t.Errorf("the certificate is %+v", described)
	}

	cluster.mount(next, rolesanywhere.EncodeKey(key))
	again()
	if got := cluster.lastCall(t); got.Serial == first || got.Algorithm != "AWS4-X509-RSA-SHA256" {
		t.Errorf("the new certificate is not used: %+v", got)
	}
	if described, _ := client.Certificate(); described.Problem != "" {
		t.Errorf("the certificate is %+v", described)
	}
}

// wantRefused checks the error of a controller without a session, and that no part of its key is in
// it.
func (c *offAWS) wantRefused(t *testing.T, code string, words ...string) {
	t.Helper()
	client := newClient(t, c.anywhere(t))
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, c.sts, err, credentials.Absent, code, words...)
	key, _ := os.ReadFile(filepath.Join(c.dir, "tls.key"))
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line) {
			t.Errorf("the key is shown: %v", err)
		}
	}
}

func TestRolesAnywhere_FilesThatCannotBeUsed(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	good := rolesanywhere.NewCA("root").Issue("kube-aws-iam-controller", key)
	pemKey := rolesanywhere.EncodeKey(key)
	for name, c := range map[string]struct {
		certificate, key []byte
		words            []string
	}{
		"no certificate":     {pemKey, pemKey, []string{"tls.crt has no certificate in PEM form"}},
		"empty":              {nil, pemKey, []string{"tls.crt is empty"}},
		"broken certificate": {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), pemKey, []string{"cannot be parsed"}},
		"no key":             {good, good, []string{"tls.key has no private key"}},
		"foreign key":        {good, rolesanywhere.EncodeKey(newRSA(t)), []string{"the key in tls.key is not that of the certificate in tls.crt"}},
		"broken key":         {good, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}), []string{"RSA, or ECDSA"}},
		"key on P-224":       {good, rolesanywhere.EncodeKey(newECDSA(t, elliptic.P224())), []string{"RSA, or ECDSA on P-256"}},
		"encrypted key":      {good, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")}), []string{"encrypted"}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := startRolesAnywhere(t)
			cluster.mount(c.certificate, c.key)
			cluster.wantRefused(t, "NoCertificate", append(c.words, "kubernetes.io/tls", "config/overlays/roles-anywhere")...)
			if calls := cluster.service.Calls(); len(calls) > 0 {
				t.Errorf("there were calls: %+v", calls)
			}
		})
	}
	t.Run("no files", func(t *testing.T) {
		cluster := startRolesAnywhere(t)
		cluster.dir = filepath.Join(t.TempDir(), "missing")
		cluster.wantRefused(t, "NoCertificate", "missing/tls.crt does not exist")
	})
}

func TestRolesAnywhere_Refusals(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	text := rolesanywhere.EncodeKey(key)
	issue := func(c *offAWS, changes ...func(*x509.Certificate)) {
		c.mount(c.ca.Issue("kube-aws-iam-controller", key, changes...), text)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		prepare func(*offAWS)
		code    string
		words   []string
	}{
		"expired": {
			func(c *offAWS) { issue(c, rolesanywhere.Valid(now.Add(-time.Hour), now.Add(-time.Minute))) },
			"CertificateExpired",
			[]string{"expired at", "cert-manager"},
		},
		"not valid yet": {
			func(c *offAWS) { issue(c, rolesanywhere.Valid(now.Add(time.Hour), now.Add(2*time.Hour))) },
			"CertificateNotYetValid",
			[]string{"valid only from"},
		},
		"an intermediate certificate has expired": {
			func(c *offAWS) {
				expired := c.ca.Intermediate("policy", rolesanywhere.Valid(now.Add(-time.Hour), now.Add(-time.Minute)))
				c.mount(expired.Intermediate("issuing").Issue("kube-aws-iam-controller", key), text)
			},
			"CertificateExpired",
			[]string{`intermediate certificate "CN=policy"`, "expired at", "tls.crt"},
		},
		"an intermediate certificate is not valid yet": {
			func(c *offAWS) {
				early := c.ca.Intermediate("issuing", rolesanywhere.Valid(now.Add(time.Hour), now.Add(2*time.Hour)))
				c.mount(early.Issue("kube-aws-iam-controller", key), text)
			},
			"CertificateNotYetValid",
			[]string{`intermediate certificate "CN=issuing"`, "valid only from"},
		},
		"chain incomplete": {func(c *offAWS) {
			leaf, _ := pem.Decode(c.ca.Intermediate("issuing").Issue("kube-aws-iam-controller", key))
			c.mount(pem.EncodeToMemory(leaf), text)
		}, "AccessDeniedException", []string{"Untrusted signing certificate", "0 intermediate", "CN=issuing", anchor}},
		"of another CA": {
			func(c *offAWS) { c.mount(rolesanywhere.NewCA("other").Issue("kube-aws-iam-controller", key), text) },
			"AccessDeniedException",
			[]string{"Untrusted signing certificate", "CN=other"},
		},
		"no digital signature": {
			func(c *offAWS) { issue(c, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }) },
			"AccessDeniedException",
			[]string{"Insufficient certificate", "usages: [digital signature, client auth]"},
		},
		"trust policy": {
			func(c *offAWS) { c.service.Deny(baseRole, true) },
			"AccessDeniedException",
			[]string{"Unable to assume role for " + baseRole, "sts:SetSourceIdentity", `CN "kube-aws-iam-controller"`, "rolesanywhere.amazonaws.com"},
		},
		"a disabled trust anchor": {
			func(c *offAWS) { c.service.SetTrustAnchor(anchor) },
			"AccessDeniedException",
			[]string{"trust anchor"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := startRolesAnywhere(t)
			c.prepare(cluster)
			cluster.wantRefused(t, c.code, c.words...)
		})
	}
}

func TestRolesAnywhere_UnknownResource(t *testing.T) {
	cluster := startRolesAnywhere(t)
	cluster.service = rolesanywhere.New(cluster.sts)
	server := httptest.NewServer(cluster.service)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", server.URL)
	cluster.wantRefused(t, "ResourceNotFoundException", anchor, profile, "enabled")
}

// A controller whose clock is wrong signs by the clock of AWS after the first answer.
func TestRolesAnywhere_WrongClock(t *testing.T) {
	for _, ahead := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			cluster := startRolesAnywhere(t)
			key := newECDSA(t, elliptic.P256())
			now := time.Now()
			valid := rolesanywhere.Valid(now.Add(-time.Hour), now.Add(time.Hour))
			cluster.mount(cluster.ca.Issue("kube-aws-iam-controller", key, valid), rolesanywhere.EncodeKey(key))
			client := newClient(t, cluster.anywhere(t), func(o *credentials.Options) {
				o.Now = func() time.Time { return time.Now().Add(ahead) }
			})
			assume(t, client, session(t, appRole))
			if calls := cluster.service.Calls(); len(calls) < 2 || calls[0].Code == "" || calls[1].Code != "" {
				t.Errorf("the calls are %+v", calls)
			}
			if got := client.Clock().Offset(); (got - ahead).Abs() > time.Minute {
				t.Errorf("the clock is %s ahead", got)
			}
		})
	}
}

func TestRolesAnywhere_Outage(t *testing.T) {
	cluster := startRolesAnywhere(t)
	var observed []string
	client := newClient(t, cluster.anywhere(t), func(o *credentials.Options) {
		o.Observe = func(operation, code string, _ time.Duration) { observed = append(observed, operation+" "+code) }
	})
	cluster.service.SetOutage(http.StatusServiceUnavailable)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, cluster.sts, err, credentials.Unavailable, "NoAnswer", "is not IAM Roles Anywhere", "AWS_ENDPOINT_URL_ROLESANYWHERE")
	if want := slices.Repeat([]string{"CreateSession NoAnswer"}, 3); !slices.Equal(observed, want) {
		t.Errorf("observed %q", observed)
	}
	cluster.service.SetOutage(0)
	deadline, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for err != nil && deadline.Err() == nil {
		_, err = client.Assume(t.Context(), session(t, appRole))
	}
	if err != nil {
		t.Error(err)
	}
}

// The error says what came back and what to do, and the metric has its code.
func TestRolesAnywhere_OtherAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		code, body string
		kind       credentials.Kind
		want       string // the code of the error, and of the metric
		words      []string
	}{
		"throttled": {
			http.StatusTooManyRequests, "ThrottlingException", `{"message":"Rate exceeded"}`,
			credentials.Throttled, "ThrottlingException",
			[]string{"CreateSession: ThrottlingException: Rate exceeded", "tried again"},
		},
		"credentials that have expired": {
			http.StatusCreated, "", `{"credentialSet":[{"credentials":{"accessKeyId":"a","secretAccessKey":"b","sessionToken":"c","expiration":"2020-01-01T00:00:00Z"}}]}`,
			credentials.Unavailable, "BadAnswer",
			[]string{"incomplete or have expired", "asked again"},
		},
		"no credentials": {
			http.StatusCreated, "", `{"credentialSet":[]}`,
			credentials.Unavailable, "NoAnswer",
			[]string{"is not IAM Roles Anywhere", "AWS_ENDPOINT_URL_ROLESANYWHERE"},
		},
		"a page": {
			http.StatusOK, "", "<html>sign in</html>",
			credentials.Unavailable, "NoAnswer",
			[]string{"is not IAM Roles Anywhere", "AWS_ENDPOINT_URL_ROLESANYWHERE"},
		},
		"an error of AWS": {
			http.StatusInternalServerError, "InternalFailure", `{"message":"try later"}`,
			credentials.Unavailable, "InternalFailure",
			[]string{"CreateSession: InternalFailure: try later", "tried again"},
		},
		"a code that is unknown": {
			http.StatusBadRequest, "Invented", `{"message":"no"}`,
			credentials.Unavailable, "Invented",
			[]string{"CreateSession: Invented: no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			once(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.code != "" {
					w.Header().Set("X-Amzn-Errortype", c.code)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(server.Close)
			t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", server.URL)
			var observed []string
			client := newClient(t, certified(t), func(o *credentials.Options) {
				o.Observe = func(operation, code string, _ time.Duration) { observed = append(observed, operation+" "+code) }
			})
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, c.kind, c.want, c.words...)
			if !slices.Equal(observed, []string{"CreateSession " + c.want}) {
				t.Errorf("observed %q", observed)
			}
		})
	}
}

// Thousands of Secrets that wait make one call a second.
func TestRolesAnywhere_ErrorsAreRepeatedForAMoment(t *testing.T) {
	cluster := startRolesAnywhere(t)
	clock := newClock()
	client := newClient(t, cluster.anywhere(t), func(o *credentials.Options) { o.Now = clock.Now })
	cluster.service.SetClock(clock.Now)
	cluster.service.Deny(baseRole, true)
	for range 5 {
		if _, err := client.Assume(t.Context(), session(t, appRole)); err == nil {
			t.Fatal("there is a session")
		}
	}
	if n := len(cluster.service.Calls()); n != 1 {
		t.Errorf("there were %d calls", n)
	}
}

func TestRolesAnywhere_RoleThatRefusesSourceIdentities(t *testing.T) {
	cluster := startRolesAnywhere(t)
	client := newClient(t, cluster.anywhere(t))
	cluster.sts.RefuseSourceIdentity(appRole)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, cluster.sts, err, credentials.Denied, "AccessDenied", "sts:SetSourceIdentity", appRole)
	cluster.sts.Deny(otherRole) // AWS does not always name the action
	_, err = client.Assume(t.Context(), session(t, otherRole))
	wantError(t, cluster.sts, err, credentials.Denied, "AccessDenied", "has a source identity", "sts:SetSourceIdentity")
	between := newClient(t, cluster.anywhere(t), through(t))
	cluster.sts.Deny(hub)
	_, err = between.Assume(t.Context(), session(t, appRole))
	wantError(t, cluster.sts, err, credentials.Denied, "AccessDenied", "--assume-role", "sts:SetSourceIdentity")
}

// The CA of a proxy, and the endpoint's, come from AWS_CA_BUNDLE as for STS.
func TestRolesAnywhere_HTTPSByTheSDKsCA(t *testing.T) {
	cluster := startRolesAnywhere(t)
	once(t)
	server := httptest.NewTLSServer(cluster.service)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", server.URL)
	_, err := newClient(t, cluster.anywhere(t)).Assume(t.Context(), session(t, appRole))
	if credentials.KindOf(err) != credentials.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v", err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, rolesanywhere.EncodeCertificates(server.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	assume(t, newClient(t, cluster.anywhere(t)), session(t, appRole))
}

func TestParseRolesAnywhere(t *testing.T) {
	replace := func(text, old, replacement string) string { return strings.Replace(text, old, replacement, 1) }
	for name, c := range map[string]struct {
		anchor, profile, role, dir string
		words                      []string // of the error; none for none
	}{
		"good":                {anchor, profile, baseRole, "/certificate", nil},
		"in China":            {replace(replace(anchor, "aws", "aws-cn"), "eu-central-1", "cn-north-1"), replace(replace(profile, "aws", "aws-cn"), "eu-central-1", "cn-north-1"), replace(baseRole, "aws", "aws-cn"), "/certificate", nil},
		"a profile's ARN":     {profile, profile, baseRole, "/certificate", []string{"--roles-anywhere-trust-anchor-arn", ":trust-anchor/<id>"}},
		"an anchor's ARN":     {anchor, anchor, baseRole, "/certificate", []string{"--roles-anywhere-profile-arn", ":profile/<id>"}},
		"no ARN":              {"anchor", profile, baseRole, "/certificate", []string{"--roles-anywhere-trust-anchor-arn"}},
		"no role":             {anchor, profile, "controller", "/certificate", []string{"--roles-anywhere-role-arn"}},
		"a relative path":     {anchor, profile, baseRole, "certificate", []string{"--roles-anywhere-certificate-dir", "absolute"}},
		"another Region":      {anchor, replace(profile, "eu-central-1", "us-east-1"), baseRole, "/certificate", []string{"eu-central-1", "us-east-1"}},
		"another partition":   {anchor, profile, replace(baseRole, "aws", "aws-cn"), "/certificate", []string{"partitions", "aws-cn"}},
		"a role of elsewhere": {anchor, profile, replace(baseRole, "123456789012", "210987654321"), "/certificate", []string{"accounts", "210987654321", "--assume-role"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := credentials.ParseRolesAnywhere(c.anchor, c.profile, c.role, c.dir)
			if (err == nil) != (c.words == nil) {
				t.Fatalf("error is %v", err)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v does not say %q", err, word)
				}
			}
		})
	}
}
