package credentials_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
)

func TestAssume(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	now := time.Now()
	client := newClient(t, func(o *credentials.Options) { o.Now = func() time.Time { return now } })
	if client.Region() != "eu-central-1" {
		t.Errorf("Region is %q", client.Region())
	}

	s := session(t, appRole)
	s.Duration = 20 * time.Minute
	got := assume(t, client, s)

	issued, known := srv.IssuedTo(got.AccessKeyID)
	if !known || issued.RoleARN != appRole || issued.SessionName != s.Name {
		t.Errorf("STS issued %s to %+v", got.AccessKeyID, issued)
	}
	if !got.Expires.Equal(issued.Expires) || got.Expires.Location() != time.UTC {
		t.Errorf("expires %s, STS says %s", got.Expires, issued.Expires)
	}
	if !got.Issued.Equal(now.Truncate(time.Second)) || got.Issued.Location() != time.UTC {
		t.Errorf("issued %s, want %s", got.Issued, now)
	}
	calls := srv.Calls()
	if last := calls[len(calls)-1]; last.Duration != s.Duration || last.CallerRoleARN != node {
		t.Errorf("STS was asked for %+v", last)
	}

	answer, err := sts.New(sts.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(srv.URL),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey.Reveal(), SessionToken: got.SessionToken.Reveal()}, nil
		}),
	}).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(answer.Arn) != "arn:aws:sts::123456789012:assumed-role/app/prod.payments.aws-iam-app" {
		t.Errorf("the credentials are not good: %v, %v", answer, err)
	}
}

func TestAssumeFails(t *testing.T) {
	deny := func(srv *ststest.Server) { srv.Deny(appRole) }
	fault := func(f ststest.Fault) func(*ststest.Server) {
		return func(srv *ststest.Server) { srv.SetFault(f) }
	}
	for _, c := range []struct {
		says  string
		order func(*ststest.Server)
		kind  credentials.Kind
		code  string
		names []string
	}{
		{"denied: role, caller and what the trust policy is to name", deny, credentials.Denied, "AccessDenied", []string{
			appRole, "arn:aws:sts::123456789012:assumed-role/node/i-0123", "trust policy name arn:aws:iam::123456789012:role/node ", "sts:AssumeRole",
		}},
		{"rejected: what STS says", func(srv *ststest.Server) { srv.SetMaxSessionDuration(appRole, 15*time.Minute) }, credentials.Rejected, "ValidationError", []string{
			appRole, "exceeds the MaxSessionDuration set for this role",
		}},
		{"throttled", fault(ststest.Throttled), credentials.Throttled, "Throttling", []string{appRole, "--sts-qps"}},
		{"an error of STS", fault(ststest.InternalFailure), credentials.Unavailable, "InternalFailure", []string{appRole, "InternalFailure"}},
		{"an outage of STS", fault(ststest.ServiceUnavailable), credentials.Unavailable, "ServiceUnavailable", []string{appRole, "ServiceUnavailable"}},
		{"no answer", fault(ststest.ConnectionReset), credentials.Unavailable, "NoAnswer", []string{appRole}},
		{"an answer that is not STS's", fault(ststest.NotXML), credentials.Unavailable, "NoAnswer", []string{appRole}},
		{"an answer without credentials", fault(ststest.MissingCredentials), credentials.Unavailable, "BadAnswer", []string{appRole}},
		{"credentials that never expire", fault(ststest.MissingExpiration), credentials.Unavailable, "BadAnswer", []string{appRole}},
		{"credentials that have expired", fault(ststest.AlreadyExpired), credentials.Unavailable, "BadAnswer", []string{appRole}},
	} {
		t.Run(c.says, func(t *testing.T) {
			srv := start(t)
			once(t)
			signInAsNode(t, srv)
			client := readyClient(t)
			c.order(srv)
			got, err := client.Assume(t.Context(), session(t, appRole))
			if err == nil || got != (credentials.Credentials{}) {
				t.Fatalf("got credentials %s", got.AccessKeyID)
			}
			wantError(t, srv, err, c.kind, c.code, c.names...)

			// It is over when it is over: no error of a role hinders a later attempt.
			srv.SetFault(ststest.NoFault)
			srv.Allow(appRole)
			srv.SetMaxSessionDuration(appRole, time.Hour)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestDenialOfOneRoleLeavesOthersAlone(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := newClient(t)
	srv.Deny(appRole)
	if _, err := client.Assume(t.Context(), session(t, appRole)); credentials.KindOf(err) != credentials.Denied {
		t.Errorf("got %v", err)
	}
	assume(t, client, session(t, "arn:aws:iam::123456789012:role/other"))
	if n := srv.Counts()[ststest.Outcome{Operation: "AssumeRole", Code: "AccessDenied"}]; n != 1 {
		t.Errorf("a denial was asked for %d times at once", n)
	}
}

func TestAssumeEndsWithItsContext(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := readyClient(t)
	srv.SetFault(ststest.Hang)

	_, err := client.Assume(impatient(t, 50*time.Millisecond), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "Timeout", appRole)

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = client.Assume(ctx, session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "Timeout", appRole)
}

func TestSTSThatIsNotThere(t *testing.T) {
	srv := start(t)
	once(t)
	signInAsNode(t, srv)
	client := readyClient(t)
	srv.Close()
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "NoAnswer", appRole)
}

// What passes within seconds is tried again, and every attempt is told of.
func TestEveryAttemptIsObserved(t *testing.T) {
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

// The controller's own keys end, and later somebody puts new ones into the file. No restart is needed, and no failed attempt.
func TestReplacedKeysAreFoundAtOnce(t *testing.T) {
	for _, c := range []struct {
		says, code string
		end        func(*ststest.Server, ststest.Keys)
	}{
		{"a deleted key", "InvalidClientTokenId", func(srv *ststest.Server, keys ststest.Keys) { srv.Revoke(keys.AccessKeyID) }},
		{"an expired session", "ExpiredToken", func(srv *ststest.Server, _ ststest.Keys) {
			later := time.Now().Add(90 * time.Minute)
			srv.SetClock(func() time.Time { return later })
			srv.SetMaxSkew(0)
		}},
	} {
		t.Run(c.says, func(t *testing.T) {
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

func TestKeysReplacedBeforeTheFirstRefusalCostNoFailure(t *testing.T) {
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

func TestNoCredentials(t *testing.T) {
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
	clock.Advance(credentials.CallerRetry)
	assume(t, client, session(t, appRole))
}

// Credentials can go while the controller runs, such as a file that somebody deletes.
func TestCredentialsThatGo(t *testing.T) {
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

func TestWrongSettings(t *testing.T) {
	for _, c := range []struct {
		says, because string
		set           func(*testing.T)
	}{
		{"no Region", "AWS_REGION", func(t *testing.T) {
			t.Helper()
			t.Setenv("AWS_REGION", "")
		}},
		{"a profile that does not exist", "nobody", func(t *testing.T) {
			t.Helper()
			t.Setenv("AWS_PROFILE", "nobody")
		}},
		{"a web identity without a role", "without AWS_ROLE_ARN", func(t *testing.T) {
			t.Helper()
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")
		}},
		{"an endpoint for container credentials elsewhere", "10.1.2.3", func(t *testing.T) {
			t.Helper()
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.1.2.3/")
		}},
		{"a number that is none", "AWS_MAX_ATTEMPTS", func(t *testing.T) {
			t.Helper()
			t.Setenv("AWS_MAX_ATTEMPTS", "many")
		}},
	} {
		t.Run(c.says, func(t *testing.T) {
			start(t)
			c.set(t)
			client, err := credentials.New(t.Context(), options())
			if err == nil || client != nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.because) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want one line that says %s", err, c.because)
			}
		})
	}
}

// A profile can vanish from its file while the controller runs.
func TestSettingsThatBreak(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	signIn(t, keys)
	client := readyClient(t)
	srv.Revoke(keys.AccessKeyID)
	t.Setenv("AWS_PROFILE", "nobody")
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", "nobody")
}

func TestRegionOfTheInstance(t *testing.T) {
	start(t)
	instance(t, "")
	t.Setenv("AWS_REGION", "")
	if got := newClient(t).Region(); got != "eu-west-1" {
		t.Errorf("Region is %q", got)
	}
}

func TestLocalRateLimit(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := readyClient(t, func(o *credentials.Options) { o.QPS = 0.01 })
	assume(t, client, session(t, appRole))
	before := len(srv.Calls())
	_, err := client.Assume(impatient(t, time.Second), session(t, appRole))
	wantError(t, srv, err, credentials.Throttled, "LocalRateLimit", appRole, "--sts-qps")
	if len(srv.Calls()) != before {
		t.Error("STS was asked all the same")
	}
}

func TestBurstIsOneSecond(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := readyClient(t, func(o *credentials.Options) { o.QPS = 5 })
	var refused int
	began := time.Now()
	for range 20 {
		if _, err := client.Assume(impatient(t, 40*time.Millisecond), session(t, appRole)); err != nil {
			refused++
		}
	}
	most := 5 + 5*int(time.Since(began)/time.Second+1) // the burst, and what came in the meantime
	if n := srv.Counts()[ststest.Outcome{Operation: "AssumeRole"}]; n < 5 || n > most || n+refused < 20 {
		t.Errorf("%d roles were assumed, %d were not", n, refused)
	}
}

func TestManyAtOnceAskWhoTheyAreOnce(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	srv.SetLatency(20 * time.Millisecond)
	client := newClient(t)
	s := session(t, appRole)
	var wg sync.WaitGroup
	var mu sync.Mutex
	keys := map[string]bool{}
	for range 100 {
		wg.Go(func() {
			got, err := client.Assume(t.Context(), s)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			keys[got.AccessKeyID] = true
		})
	}
	wg.Wait()
	if len(keys) != 100 {
		t.Errorf("%d different keys for 100 sessions", len(keys))
	}
	if n := srv.Counts()[ststest.Outcome{Operation: "GetCallerIdentity"}]; n != 1 {
		t.Errorf("GetCallerIdentity was called %d times", n)
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		says string
		err  error
		want credentials.Kind
	}{
		{"another error", errors.New("x"), credentials.Unavailable},
		{"none", nil, credentials.Unavailable},
		{"one of this package", &credentials.Error{Kind: credentials.Denied}, credentials.Denied},
		{"a wrapped one", errors.Join(errors.New("x"), &credentials.Error{Kind: credentials.Absent}), credentials.Absent},
	} {
		t.Run(c.says, func(t *testing.T) {
			if got := credentials.KindOf(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
