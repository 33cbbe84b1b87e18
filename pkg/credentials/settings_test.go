package credentials_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// Short failures are retried, and every attempt is observed.
func TestObserve_EveryAttempt(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	var mu sync.Mutex
	var observed []string
	client := readyClient(t, func(o *credentials.Options) {
		o.Observe = func(operation, code string, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			observed = append(observed, operation+" "+code)
			if took <= 0 || took > time.Minute {
				t.Errorf("%s took %s", operation, took)
			}
		}
	})
	srv.FaultNext(1, ststest.ConnectionReset)
	assume(t, client, session(t, appRole))
	srv.Deny(appRole)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied")
	if want := []string{"GetCallerIdentity OK", "AssumeRole NoAnswer", "AssumeRole OK", "AssumeRole AccessDenied"}; !slices.Equal(observed, want) {
		t.Errorf("observed %q, want %q", observed, want)
	}
}

// After the controller's keys expired, new ones in the file need no restart and cost no failed
// attempt.
func TestAssume_FindsReplacedKeysAtOnce(t *testing.T) {
	for _, c := range []struct {
		name, code string
		end        func(*ststest.Server, ststest.Keys)
	}{
		{"a deleted key", "InvalidClientTokenId", func(srv *ststest.Server, keys ststest.Keys) { srv.Revoke(keys.AccessKeyID) }},
		{"an expired session", "ExpiredToken", func(srv *ststest.Server, _ ststest.Keys) {
			later := time.Now().Add(90 * time.Minute)
			srv.SetClock(func() time.Time { return later })
			srv.SetMaxSkew(0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			keys := signInAsNode(t, srv)
			client := readyClient(t)
			c.end(srv, keys)
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Expired, c.code, appRole, "own AWS credentials")

			signIn(t, srv.AddUser(account, "fresh"))
			assume(t, client, session(t, appRole))
			if caller, err := client.Caller(t.Context()); err != nil || caller.ARN != "arn:aws:iam::123456789012:user/fresh" {
				t.Errorf("the caller is %q, %v", caller.ARN, err)
			}
		})
	}
}

func TestAssume_KeysReplacedBeforeTheFirstRefusal(t *testing.T) {
	srv := start(t)
	old := srv.AddUser(account, "old")
	signIn(t, old)
	client := readyClient(t)
	srv.Revoke(old.AccessKeyID)
	signIn(t, srv.AddUser(account, "fresh"))
	assume(t, client, session(t, appRole))
	if got, want := operations(srv), []string{"GetCallerIdentity", "AssumeRole InvalidClientTokenId", "AssumeRole"}; !slices.Equal(got, want) {
		t.Errorf("STS got %q, want %q", got, want)
	}
}

func TestAssume_NoCredentials(t *testing.T) {
	srv := start(t)
	clock := newClock()
	client := newClient(t, func(o *credentials.Options) { o.Now = clock.Now })
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials",
		"AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "metadata")
	if len(srv.Calls()) > 0 {
		t.Errorf("STS was asked all the same: %q", operations(srv))
	}

	signInAsNode(t, srv)
	clock.Step(credentials.CallerRetry)
	assume(t, client, session(t, appRole))
}

// Credentials can disappear while the controller runs, such as a deleted file.
func TestAssume_CredentialsDisappear(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	signIn(t, keys)
	client := readyClient(t)
	srv.Revoke(keys.AccessKeyID)
	if err := os.Remove(os.Getenv("AWS_SHARED_CREDENTIALS_FILE")); err != nil { //nolint:gosec // the test set it
		t.Fatal(err)
	}
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials")
}

func TestNew_WrongSettings(t *testing.T) {
	for _, c := range []struct{ name, variable, value, because string }{
		{"no Region", "AWS_REGION", "", "AWS_REGION"},
		{"a profile that does not exist", "AWS_PROFILE", "missing", "missing"},
		{"a web identity without a role", "AWS_WEB_IDENTITY_TOKEN_FILE", "/token", "without AWS_ROLE_ARN"},
		{"an endpoint for container credentials elsewhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.1.2.3/", "10.1.2.3"},
		{"an invalid number", "AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start(t)
			t.Setenv(c.variable, c.value)
			client, err := credentials.New(t.Context(), options())
			if err == nil || client != nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.because) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want one line that contains %s", err, c.because)
			}
		})
	}
}

// A profile can disappear from its file while the controller runs.
func TestAssume_SettingsBecomeInvalid(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	signIn(t, keys)
	client := readyClient(t)
	srv.Revoke(keys.AccessKeyID)
	t.Setenv("AWS_PROFILE", "missing")
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", "missing")
}

func TestNew_RegionOfTheInstance(t *testing.T) {
	start(t)
	instance(t, "")
	t.Setenv("AWS_REGION", "")
	if got := newClient(t).Region(); got != "eu-west-1" {
		t.Errorf("Region is %q", got)
	}
}
