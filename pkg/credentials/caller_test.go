package credentials_test

import (
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	ststest "kube-aws-iam-controller/test/sts"
)

func TestMaxDuration(t *testing.T) {
	const session, user = "arn:aws:sts::123456789012:assumed-role/node/i-0123", "arn:aws:iam::123456789012:user/alice"
	for _, c := range []struct {
		name, caller string
		chained      bool
		wanted, want time.Duration
	}{
		{"a user may have all", user, false, 12 * time.Hour, 12 * time.Hour},
		{"a session may have an hour", session, true, 12 * time.Hour, time.Hour},
		{"a session in China, too", "arn:aws-cn:sts::123456789012:assumed-role/node/i-0123", true, 2 * time.Hour, time.Hour},
		{"an hour is not changed", session, true, time.Hour, time.Hour},
		{"less than an hour is not changed", session, true, 15 * time.Minute, 15 * time.Minute},
		{"the root user is no role", "arn:aws:iam::123456789012:root", false, 2 * time.Hour, 2 * time.Hour},
		{"a federated user is no role", "arn:aws:sts::123456789012:federated-user/alice", false, 2 * time.Hour, 2 * time.Hour},
		{"a user called like a session", "arn:aws:iam::123456789012:assumed-role/x", false, 2 * time.Hour, 2 * time.Hour},
		{"what is no ARN is no role", "x", false, 2 * time.Hour, 2 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			caller := credentials.Caller{ARN: c.caller}
			if got := caller.MaxDuration(c.wanted); got != c.want || caller.Chained() != c.chained {
				t.Errorf("got %s, chained %t", got, caller.Chained())
			}
		})
	}
}

// STS accepts exactly what MaxDuration allows.
func TestMaxDuration_IsAcceptedBySTS(t *testing.T) {
	for _, c := range []struct {
		name   string
		signIn func(*testing.T, *ststest.Server)
		want   time.Duration
	}{
		{"a user", func(t *testing.T, srv *ststest.Server) {
			t.Helper()
			signIn(t, srv.AddUser(account, "alice"))
		}, 2 * time.Hour},
		{"a role", func(t *testing.T, srv *ststest.Server) {
			t.Helper()
			signInAsNode(t, srv)
		}, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			srv.SetMaxSessionDuration(appRole, 12*time.Hour)
			c.signIn(t, srv)
			client := newClient(t)
			caller, err := client.Caller(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := session(t, appRole)
			s.Duration = caller.MaxDuration(2 * time.Hour)
			got := assume(t, client, s)
			if life := got.Expires.Sub(got.Issued); life < c.want-2*time.Second || life > c.want+2*time.Second {
				t.Errorf("the session lives %s, want %s", life, c.want)
			}

			s.Duration = 2 * time.Hour
			if _, err := client.Assume(t.Context(), s); (err == nil) != (c.want == s.Duration) {
				t.Errorf("two hours: %v", err)
			} else if err != nil {
				wantError(t, srv, err, credentials.Rejected, "ValidationError", "role chaining")
			}
		})
	}
}

func TestAssume_DenialNamesTheUser(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "alice"))
	srv.Deny(appRole)
	_, err := newClient(t).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied", "trust policy name arn:aws:iam::123456789012:user/alice as Principal")
}

func TestBase(t *testing.T) {
	given, err := role.ParseBase("arn:aws:iam::210987654321:role/team/")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, profile string // profile: of the instance, if it is one
		given         role.Base
		want          string
	}{
		{name: "the flag's", given: given, want: "arn:aws:iam::210987654321:role/team/"},
		{name: "the flag's, with an instance profile", given: given, profile: "arn:aws:iam::333333333333:instance-profile/node", want: "arn:aws:iam::210987654321:role/team/"},
		{name: "the instance profile's", profile: "arn:aws-cn:iam::333333333333:instance-profile/team/node", want: "arn:aws-cn:iam::333333333333:role/"},
		{name: "the caller's", want: "arn:aws:iam::123456789012:role/"},
		{name: "the caller's where the instance profile is none", profile: "none", want: "arn:aws:iam::123456789012:role/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			if c.profile != "" {
				instance(t, c.profile)
			}
			signInAsNode(t, srv)
			caller, err := newClient(t, func(o *credentials.Options) { o.Base = c.given }).Caller(t.Context())
			if err != nil || caller.Base.String() != c.want {
				t.Errorf("got %q, %v, want %q", caller.Base, err, c.want)
			}
			if want := "arn:aws:sts::123456789012:assumed-role/node/i-0123"; caller.ARN != want {
				t.Errorf("the caller is %q, want %q", caller.ARN, want)
			}
		})
	}
}

func TestBase_NotDerivable(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser("not-an-account", "alice"))
	_, err := newClient(t).Caller(t.Context())
	wantError(t, srv, err, credentials.Rejected, "BaseRoleARN", "--base-role-arn")
}

func TestCaller_Errors(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault ststest.Fault
		kind  credentials.Kind
		code  string
	}{
		{"an outage of STS", ststest.ServiceUnavailable, credentials.Unavailable, "ServiceUnavailable"},
		{"an error of STS", ststest.InternalFailure, credentials.Unavailable, "InternalFailure"},
		{"no answer", ststest.ConnectionReset, credentials.Unavailable, "NoAnswer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			once(t)
			signInAsNode(t, srv)
			clock := newClock()
			client := newClient(t, func(o *credentials.Options) { o.Now = clock.Now })
			srv.FaultNext(1, c.fault)

			// An error is repeated for a while without a call.
			for range 3 {
				_, err := client.Caller(t.Context())
				wantError(t, srv, err, c.kind, c.code, "GetCallerIdentity")
				_, err = client.Assume(t.Context(), session(t, appRole))
				wantError(t, srv, err, c.kind, c.code, "GetCallerIdentity")
			}
			if got := operations(srv); len(got) != 1 {
				t.Errorf("STS got %q", got)
			}
			clock.Step(credentials.CallerRetry)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestCaller_KeepsTheAnswer(t *testing.T) {
	srv := start(t)
	signInAsNode(t, srv)
	client := readyClient(t)
	srv.SetFault(ststest.Hang)
	if _, err := client.Caller(t.Context()); err != nil {
		t.Error(err)
	}
	if got := operations(srv); len(got) != 1 {
		t.Errorf("STS got %q", got)
	}
}

func TestCaller_EndsWithItsContext(t *testing.T) {
	srv := start(t)
	once(t)
	signInAsNode(t, srv)
	client := newClient(t)
	srv.SetFault(ststest.Hang)
	start := time.Now()
	_, err := client.Caller(impatient(t, 50*time.Millisecond))
	wantError(t, srv, err, credentials.Unavailable, "Timeout", "GetCallerIdentity")
	_, err = client.Assume(impatient(t, 50*time.Millisecond), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "Timeout", "GetCallerIdentity")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

const hub = "arn:aws:iam::123456789012:role/hub"

// through makes a client assume the role hub first.
func through(t *testing.T) func(*credentials.Options) {
	t.Helper()
	return func(o *credentials.Options) {
		o.Intermediate = credentials.Session{Role: arn(t, hub), Name: "prod._controller.kube-aws-iam-controller"}
	}
}

func TestIntermediateRole(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "alice"))
	client := newClient(t, through(t))
	caller, err := client.Caller(t.Context())
	if err != nil || caller.ARN != "arn:aws:sts::123456789012:assumed-role/hub/prod._controller.kube-aws-iam-controller" || !caller.Chained() {
		t.Errorf("the caller is %q, %v", caller.ARN, err)
	}
	for range 2 {
		assume(t, client, session(t, appRole))
	}

	type call struct{ operation, role, caller string }
	var got []call
	for _, c := range srv.Calls() {
		got = append(got, call{c.Operation, c.RoleARN, c.CallerRoleARN})
	}
	want := []call{{"AssumeRole", hub, ""}, {"GetCallerIdentity", "", hub}, {"AssumeRole", appRole, hub}, {"AssumeRole", appRole, hub}}
	if !slices.Equal(got, want) {
		t.Errorf("STS got %v, want %v", got, want)
	}
}

func TestIntermediateRole_Denied(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "alice"))
	srv.Deny(hub)
	_, err := newClient(t, through(t)).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied", hub, "user/alice")
}

func TestIntermediateRole_DeniedAdviceFitsTheAction(t *testing.T) {
	const answer = "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: sts:TagSession on resource: " + hub + " with an explicit deny in a service control policy"
	srv := start(t)
	signIn(t, srv.AddUser(account, "alice"))
	srv.DenyWithMessage(hub, answer)
	_, err := newClient(t, through(t)).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied", hub+", the role of --assume-role", answer, "explicit deny, in a service control policy", "Tried again")
}

// The session of the intermediate role has to be renewed after the base keys were replaced.
func TestIntermediateRole_ReplacedBaseKeys(t *testing.T) {
	srv := start(t)
	old := srv.AddUser(account, "old")
	signIn(t, old)
	srv.SetSessionLifetime(time.Minute) // shorter than the SDK keeps a session that is about to end
	client := readyClient(t, through(t))

	srv.Revoke(old.AccessKeyID)
	signIn(t, srv.AddUser(account, "fresh"))
	assume(t, client, session(t, appRole))

	signIn(t, old)
	srv.Revoke(old.AccessKeyID)
	client = newClient(t, through(t))
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", "own AWS credentials, from the file", hub)
}
