package credentials_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	account = "123456789012"
	appRole = "arn:aws:iam::123456789012:role/team/app"
	node    = "arn:aws:iam::123456789012:role/node"
)

// start starts an STS for one test and points the SDK to it. The environment holds nothing more.
func start(t *testing.T) *ststest.Server {
	t.Helper()
	srv := ststest.New()
	t.Cleanup(srv.Close)
	bareEnvironment(t)
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ENDPOINT_URL_STS", srv.URL)
	return srv
}

// bareEnvironment leaves the SDK no credentials, no Region, no files and no metadata service.
func bareEnvironment(t *testing.T) {
	t.Helper()
	for _, variable := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
		"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE",
		"AWS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY",
	} {
		t.Setenv(variable, "")
	}
	nowhere := t.TempDir()
	t.Setenv("HOME", nowhere)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(nowhere, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(nowhere, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// signIn writes keys into the shared credentials file, in place of those that are there.
func signIn(t *testing.T, keys ststest.Keys) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + keys.AccessKeyID + "\naws_secret_access_key = " + keys.SecretAccessKey + "\n"
	if keys.SessionToken != "" {
		text += "aws_session_token = " + keys.SessionToken + "\n"
	}
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(text), 0o600); err != nil { //nolint:gosec // the test set it
		t.Fatal(err)
	}
}

// signInAsNode signs in with a session of the instance's role.
func signInAsNode(t *testing.T, srv *ststest.Server) ststest.Keys {
	t.Helper()
	keys, err := srv.AddSession(node, "i-0123", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signIn(t, keys)
	return keys
}

// once makes the SDK try each call only once, so that a test does not wait for retries.
func once(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
}

func newClock() *clocktesting.FakeClock { return clocktesting.NewFakeClock(time.Now()) }

// options are those of a client without limits, changed by the test.
func options(changes ...func(*credentials.Options)) credentials.Options {
	o := credentials.Options{QPS: 1000, Now: time.Now}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func newClient(t *testing.T, changes ...func(*credentials.Options)) *credentials.Client {
	t.Helper()
	c, err := credentials.New(t.Context(), options(changes...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readyClient returns a client that already knows its identity.
func readyClient(t *testing.T, changes ...func(*credentials.Options)) *credentials.Client {
	t.Helper()
	c := newClient(t, changes...)
	if _, err := c.Caller(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func arn(t *testing.T, s string) role.ARN {
	t.Helper()
	a, err := role.ParseARN(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func session(t *testing.T, roleARN string) credentials.Session {
	t.Helper()
	return credentials.Session{Role: arn(t, roleARN), Name: "prod.payments.aws-iam-app", Duration: time.Hour}
}

// assume fails the test if there is an error.
func assume(t *testing.T, c *credentials.Client, s credentials.Session) credentials.Credentials {
	t.Helper()
	got, err := c.Assume(t.Context(), s)
	if err != nil {
		t.Fatalf("Assume: %v", err)
	}
	return got
}

// wantError checks kind and code of an error, and that its message is one line that contains all of
// names, and no secret.
func wantError(t *testing.T, srv *ststest.Server, err error, kind credentials.Kind, code string, names ...string) {
	t.Helper()
	known, ok := err.(*credentials.Error) //nolint:errorlint // callers can rely on the type
	if !ok {
		t.Fatalf("error is %T %v", err, err)
	}
	if known.Kind != kind || credentials.KindOf(err) != kind || known.Code != code {
		t.Errorf("kind is %d and code %s, want %d and %s: %v", known.Kind, known.Code, kind, code, err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("message does not say %q: %v", name, err)
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("message is more than one line: %q", err)
	}
	if strings.Contains(err.Error(), "RequestID") {
		t.Errorf("message changes with every call: %v", err)
	}
	wantNoLeak(t, srv, err.Error())
}

// wantNoLeak checks that a text contains none of the secrets that STS issued.
func wantNoLeak(t *testing.T, srv *ststest.Server, text string) {
	t.Helper()
	for secret := range srv.IssuedSecrets() {
		if strings.Contains(text, secret) {
			t.Fatalf("a secret is shown: %s", text)
		}
	}
}

// operations returns operation and error code of all calls that STS got, in order: "AssumeRole",
// "AssumeRole AccessDenied".
func operations(srv *ststest.Server) []string {
	var all []string
	for _, call := range srv.Calls() {
		all = append(all, strings.TrimSpace(call.Operation+" "+call.Code))
	}
	return all
}

// impatient returns a context that ends after d.
func impatient(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
