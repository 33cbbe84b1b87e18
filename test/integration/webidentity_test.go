package integration_test

import (
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	awsrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	audience       = "sts.amazonaws.com"
	controllerRole = "arn:aws:iam::" + account + ":role/" + controllers.Name
	appRole        = "arn:aws:iam::" + account + ":role/app"
)

// useWebIdentity gives the controllers that are started from now on a role, by a token of the API
// server in a file, which is not there yet. STS verifies tokens with the keys that the API server
// publishes, and the role trusts the controller's ServiceAccount only.
func useWebIdentity(w *testEnv) (file string) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "token")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_MAX_ATTEMPTS": "1",
		"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": controllerRole,
	} {
		w.t.Setenv(name, value)
	}
	trustAPIServer(w.t, w.sts)
	subject := "system:serviceaccount:" + w.namespace + ":" + controllers.Name
	w.sts.Trust(controllerRole, func(c ststest.Call) bool { return c.Subject == subject })
	w.create(newServiceAccount(w.namespace, controllers.Name), newServiceAccount(w.namespace, "other"))
	return file
}

// trustAPIServer has STS trust the API server's tokens, and returns the API server's name in them.
func trustAPIServer(tb testing.TB, sts *ststest.Server) (issuer string) {
	tb.Helper()
	issuer, err := env.TrustAPIServer(tb.Context(), admin, sts)
	if err != nil {
		tb.Fatal(err)
	}
	return issuer
}

// writeToken puts a new token of a ServiceAccount into a file in one piece, as the kubelet does.
func writeToken(w *testEnv, file, serviceAccount, audience string, life time.Duration) {
	w.t.Helper()
	w.must(os.WriteFile(file+".new", []byte(w.token(serviceAccount, life, audience)), 0o600))
	w.must(os.Rename(file+".new", file))
}

// A controller that starts before its token is there says so, waits, and then serves. It keeps no
// secret of its own.
func TestWebIdentity_MissingTokenIsReportedUntilWritten(t *testing.T) {
	w := newTestEnv(t)
	file := useWebIdentity(w)
	w.sts.Trust(appRole, func(c ststest.Call) bool { return c.CallerRoleARN == controllerRole })
	w.start()
	w.pod("app", role("app"))
	w.event("Warning GetCredentialsFailed app:", "the file "+file+" of AWS_WEB_IDENTITY_TOKEN_FILE does not exist", "projected volume")

	writeToken(w, file, controllers.Name, audience, time.Hour)
	w.wait("aws-iam-app")
	for _, operation := range []string{"AssumeRoleWithWebIdentity", "AssumeRole"} {
		if w.metric("sts_requests_total", "operation", operation, "code", "OK") != 1 {
			t.Errorf("%s is not counted", operation)
		}
	}
}

func TestWebIdentity_RejectedTokenIsExplained(t *testing.T) {
	target, err := awsrole.ParseARN(appRole)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says, code    string
		spoil, repair func(w *testEnv, file string)
		names         []string
	}{
		{
			"wrong audience", "InvalidIdentityToken",
			func(w *testEnv, file string) { writeToken(w, file, controllers.Name, "vault", time.Hour) },
			func(w *testEnv, file string) { writeToken(w, file, controllers.Name, audience, time.Hour) },
			[]string{"Incorrect token audience", `audience "vault"`},
		},
		{
			"wrong ServiceAccount", "AccessDenied",
			func(w *testEnv, file string) { writeToken(w, file, "other", audience, time.Hour) },
			func(w *testEnv, file string) { writeToken(w, file, controllers.Name, audience, time.Hour) },
			[]string{":other\"", "trust policy"},
		},
		{
			"expired token", "ExpiredTokenException",
			func(w *testEnv, file string) {
				writeToken(w, file, controllers.Name, audience, 10*time.Minute)
				w.sts.SetMaxSkew(0)
				w.sts.SetClock(func() time.Time { return time.Now().Add(time.Hour) })
			},
			func(w *testEnv, file string) { writeToken(w, file, controllers.Name, audience, 3*time.Hour) },
			[]string{"kubelet"},
		},
		{
			"signing key not published", "InvalidIdentityToken",
			func(w *testEnv, file string) {
				writeToken(w, file, controllers.Name, audience, time.Hour)
				w.sts.TrustIssuer(trustAPIServer(w.t, w.sts), func(string) (crypto.PublicKey, error) { return nil, errors.New("no such key") })
			},
			func(w *testEnv, _ string) { trustAPIServer(w.t, w.sts) },
			[]string{"verification key", "whose keys AWS can fetch"},
		},
	} {
		t.Run(c.says, func(t *testing.T) {
			w := newTestEnv(t)
			file := useWebIdentity(w)
			c.spoil(w, file)
			now := time.Now()
			client, err := credentials.New(t.Context(), credentials.Options{QPS: 300, Now: func() time.Time { return now }})
			w.must(err)
			assume := func() error {
				_, err := client.Assume(t.Context(), credentials.Session{Role: target, Name: "test", Duration: time.Hour})
				return err
			}
			err = assume()
			known, ok := errors.AsType[*credentials.Error](err)
			if !ok || known.Code != c.code || strings.Contains(err.Error(), "\n") || !containsAll(err.Error(), append(c.names, controllerRole, c.code)) {
				t.Fatalf("got %v, want %s with %q", err, c.code, c.names)
			}
			token, readErr := os.ReadFile(file) //nolint:gosec // the test wrote it
			w.must(readErr)
			if slices.ContainsFunc(strings.Split(string(token), "."), func(part string) bool { return strings.Contains(err.Error(), part) }) {
				t.Errorf("the token leaked: %v", err)
			}

			c.repair(w, file)
			now = now.Add(credentials.CallerRetry)
			w.must(assume())
		})
	}
}
