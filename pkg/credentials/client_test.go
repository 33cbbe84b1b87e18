package credentials_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
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
		t.Errorf("expires %s, STS issued %s", got.Expires, issued.Expires)
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

func TestAssume_Errors(t *testing.T) {
	deny := func(srv *ststest.Server) { srv.Deny(appRole) }
	fault := func(f ststest.Fault) func(*ststest.Server) {
		return func(srv *ststest.Server) { srv.SetFault(f) }
	}
	for _, c := range []struct {
		name  string
		order func(*ststest.Server)
		kind  credentials.Kind
		code  string
		names []string
	}{
		{"denied: role, caller and what the trust policy is to name", deny, credentials.Denied, "AccessDenied", []string{
			appRole, "arn:aws:sts::123456789012:assumed-role/node/i-0123", "trust policy name arn:aws:iam::123456789012:role/node ", "sts:AssumeRole",
		}},
		{"rejected with the answer of STS", func(srv *ststest.Server) { srv.SetMaxSessionDuration(appRole, 15*time.Minute) }, credentials.Rejected, "ValidationError", []string{
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
		t.Run(c.name, func(t *testing.T) {
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

			// An error of one role does not affect later attempts.
			srv.SetFault(ststest.NoFault)
			srv.Allow(appRole)
			srv.SetMaxSessionDuration(appRole, time.Hour)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestAssume_DenialOfOneRoleDoesNotAffectOthers(t *testing.T) {
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

func TestAssume_EndsWithItsContext(t *testing.T) {
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

func TestAssume_STSUnreachable(t *testing.T) {
	srv := start(t)
	once(t)
	signInAsNode(t, srv)
	client := readyClient(t)
	srv.Close()
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "NoAnswer", appRole)
}

func TestAssume_LocalRateLimit(t *testing.T) {
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

func TestAssume_BurstIsOneSecond(t *testing.T) {
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
	most := 5 + 5*int(time.Since(began)/time.Second+1) // the burst, and the rate since then
	if n := srv.Counts()[ststest.Outcome{Operation: "AssumeRole"}]; n < 5 || n > most || n+refused < 20 {
		t.Errorf("%d roles were assumed, %d were not", n, refused)
	}
}

func TestCaller_ConcurrentCallsAskOnce(t *testing.T) {
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
		name string
		err  error
		want credentials.Kind
	}{
		{"another error", errors.New("x"), credentials.Unavailable},
		{"none", nil, credentials.Unavailable},
		{"one of this package", &credentials.Error{Kind: credentials.Denied}, credentials.Denied},
		{"a wrapped one", errors.Join(errors.New("x"), &credentials.Error{Kind: credentials.Absent}), credentials.Absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := credentials.KindOf(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
