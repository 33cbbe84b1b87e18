package credentials_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	ststest "kube-aws-iam-controller/test/sts"
)

const ownRole = "arn:aws:iam::123456789012:role/controller"

// seed returns a new session of a role as a Seed.
func seed(t *testing.T, srv *ststest.Server, roleARN string) credentials.Seed {
	t.Helper()
	const life = time.Hour
	keys, err := srv.AddSession(roleARN, "bootstrap", life)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.Seed{
		Credentials: credentials.Credentials{
			AccessKeyID: keys.AccessKeyID, SecretAccessKey: credentials.Redact(keys.SecretAccessKey), SessionToken: credentials.Redact(keys.SessionToken),
			Issued: time.Now(), Expires: time.Now().Add(life),
		},
		Name: "Secret kube-system/seed", Remedy: func() string { return "run the script" },
	}
}

func seeded(o *credentials.Options) { o.Seeded = true }

func TestSetSeed_IsTheOnlyBase(t *testing.T) {
	srv := start(t)
	once(t)
	signInAsNode(t, srv)
	client := newClient(t, seeded)
	if _, err := client.Caller(t.Context()); err == nil || !strings.Contains(err.Error(), "has not read its seed") {
		t.Errorf("without a seed it has an identity: %v", err)
	}
	planted := seed(t, srv, ownRole)
	client.SetSeed(planted)
	if got := client.BaseExpires(); !got.Equal(planted.Credentials.Expires) { // also on a standby, which makes no calls
		t.Errorf("before the first call its own credentials expire at %s", got)
	}
	caller, err := client.Caller(t.Context())
	if err != nil || caller.RoleName() != "controller" {
		t.Fatalf("it is %s, %v", caller.ARN, err)
	}
	assume(t, client, session(t, appRole))
}

func TestSetSeed_TakesEffectAtOnce(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded)
	client.SetSeed(seed(t, srv, ownRole))
	assume(t, client, session(t, appRole))
	fresh := seed(t, srv, ownRole)
	client.SetSeed(fresh)
	assume(t, client, session(t, appRole))
	calls := srv.Calls()
	if last := calls[len(calls)-1]; last.CallerKeyID != fresh.Credentials.AccessKeyID {
		t.Errorf("STS was asked with %s", last.CallerKeyID)
	}
	if got, want := operations(srv), []string{"GetCallerIdentity", "AssumeRole", "GetCallerIdentity", "AssumeRole"}; !slices.Equal(got, want) {
		t.Errorf("STS got %q, want %q", got, want)
	}
}

func TestSetSeed_UnusableSeeds(t *testing.T) {
	srv := start(t)
	once(t)
	for name, c := range map[string]struct {
		change func(*credentials.Seed)
		kind   credentials.Kind
		name   []string
	}{
		"missing": {func(s *credentials.Seed) { s.Credentials, s.Problem = credentials.Credentials{}, "does not exist" }, credentials.Absent, []string{"does not exist"}},
		"unknown": {func(s *credentials.Seed) { s.Credentials.AccessKeyID = "ASIAUNKNOWN" }, credentials.Expired, []string{"InvalidClientTokenId", "eu-central-1", "partition"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, seeded)
			s := seed(t, srv, ownRole)
			c.change(&s)
			client.SetSeed(s)
			_, err := client.Assume(t.Context(), session(t, appRole))
			if credentials.KindOf(err) != c.kind {
				t.Errorf("it is of kind %d", credentials.KindOf(err))
			}
			for _, text := range append(c.name, "Secret kube-system/seed", "run the script") {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			client.SetSeed(seed(t, srv, ownRole))
			assume(t, client, session(t, appRole))
		})
	}
}

// Without the intermediate role the controller has the identity and account of its base.
func TestBaseClient_IsWithoutTheIntermediateRole(t *testing.T) {
	srv := start(t)
	hub, err := role.ParseARN("arn:aws:iam::210987654321:role/hub")
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, seeded, func(o *credentials.Options) { o.Intermediate = credentials.Session{Role: hub, Name: "controller"} })
	client.SetSeed(seed(t, srv, ownRole))
	own, err := client.BaseClient().Caller(t.Context())
	if err != nil || own.RoleName() != "controller" || own.Base.String() != "arn:aws:iam::123456789012:role/" {
		t.Errorf("by itself it is %s under %s, %v", own.ARN, own.Base, err)
	}
	working, err := client.Caller(t.Context())
	if err != nil || working.RoleName() != "hub" || working.Base.String() != "arn:aws:iam::210987654321:role/" {
		t.Errorf("it works as %s under %s, %v", working.ARN, working.Base, err)
	}
	if without := newClient(t, seeded); without.BaseClient() != without {
		t.Error("without an intermediate role it has another identity")
	}
}

func TestAssume_RoleThatDoesNotTrustItself(t *testing.T) {
	srv := start(t)
	client := newClient(t, seeded)
	client.SetSeed(seed(t, srv, ownRole))
	srv.Deny(ownRole)
	_, err := client.Assume(t.Context(), session(t, ownRole))
	if err == nil || !strings.Contains(err.Error(), "does not trust itself") || !strings.Contains(err.Error(), "aws:PrincipalArn "+ownRole) {
		t.Errorf("got %v", err)
	}
}

func TestCaller_Is(t *testing.T) {
	caller := credentials.Caller{ARN: "arn:aws:sts::123456789012:assumed-role/controller/session"}
	for arn, want := range map[string]bool{
		ownRole: true,
		"arn:aws:iam::123456789012:role/path/controller": true, // a session's ARN has no path
		"arn:aws:iam::123456789012:role/Controller":      true, // IAM does not distinguish names by case
		"arn:aws-cn:iam::123456789012:role/controller":   true,
		"arn:aws:iam::123456789012:role/admin":           false,
		"arn:aws:iam::210987654321:role/controller":      false,
	} {
		r, err := role.ParseARN(arn)
		if err != nil {
			t.Fatal(err)
		}
		if caller.Is(r) != want {
			t.Errorf("to be %s: %t", arn, !want)
		}
		if (credentials.Caller{ARN: "arn:aws:iam::123456789012:user/controller"}).Is(r) {
			t.Errorf("a user is %s", arn)
		}
	}
	if (credentials.Caller{ARN: "x"}).Is(role.ARN{}) {
		t.Error("what is no role is the zero role")
	}
}
