package credentials_test

import (
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/role"
)

const (
	otherRole    = "arn:aws:iam::123456789012:role/another"
	otherAccount = "arn:aws:iam::210987654321:role/controller"
)

// based gives the Client a base role ARN in account 123456789012.
func based(t *testing.T) func(*credentials.Options) {
	t.Helper()
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/pods/")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *credentials.Options) { o.Base = base }
}

func TestPlant_PinsToTheRoleOfTheFirstSeed(t *testing.T) {
	for _, c := range []struct {
		says, next string
		accepted   bool
	}{
		{"the same role", ownRole, true},
		{"the same role, whose path a session's ARN leaves out", "arn:aws:iam::123456789012:role/team/controller", true},
		{"another role of the account", otherRole, false},
		{"a role of the same name in another account", otherAccount, false},
	} {
		for _, behind := range []string{"", hub} { // as it is, and behind an intermediate role
			t.Run(c.says+behind, func(t *testing.T) {
				srv := start(t)
				once(t)
				client := newClient(t, seeded, func(o *credentials.Options) {
					if behind != "" {
						through(t)(o)
					}
				})
				client.Plant(seed(t, srv, ownRole))
				assume(t, client, session(t, appRole))

				next := seed(t, srv, c.next)
				client.Plant(next)
				if c.accepted {
					assume(t, client, session(t, appRole))
					return
				}
				before := len(srv.Calls())
				for range 3 {
					_, err := client.Assume(t.Context(), session(t, appRole))
					wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole", "Secret kube-system/seed", role.SessionRole(arnOf(srv, &next)).String(),
						"role controller of account 123456789012", "restart the controller")
					_, err = client.Own().Caller(t.Context())
					wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole")
				}
				if got := operations(srv)[before:]; !slices.Equal(got, []string{"GetCallerIdentity"}) {
					t.Errorf("with the other seed STS got %q", got)
				}
				if left := time.Until(client.BaseExpires()); left > 0 {
					t.Errorf("the refused seed counts for %s", left)
				}

				good := seed(t, srv, ownRole)
				client.Plant(good)
				assume(t, client, session(t, appRole))
				if !client.BaseExpires().Equal(good.Credentials.Expires) {
					t.Errorf("its own credentials expire at %s", client.BaseExpires())
				}
			})
		}
	}
}

// arnOf is who a seed is for STS.
func arnOf(srv *ststest.Server, s *credentials.Seed) string {
	issued, _ := srv.IssuedTo(s.Credentials.AccessKeyID)
	return issued.ARN
}

func TestPlant_PinsToTheAccountOfTheBaseRoleARN(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded, based(t))
	client.Plant(seed(t, srv, otherAccount))
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole", "Secret kube-system/seed", "role controller of account 210987654321", "--base-role-arn names account 123456789012")
	client.Plant(seed(t, srv, ownRole))
	assume(t, client, session(t, appRole))
}

// The account of the base role ARN is the intermediate role's, and the seed's may be another.
func TestPlant_BehindAnIntermediateRoleAnyAccountIsFirst(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded, based(t), through(t))
	client.Plant(seed(t, srv, otherAccount))
	assume(t, client, session(t, appRole))
}

// What STS once said of a seed is not believed any longer than STS takes it.
func TestCaller_OfASeedThatIsRevoked(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded)
	planted := seed(t, srv, ownRole)
	client.Plant(planted)
	assume(t, client, session(t, appRole))
	srv.Revoke(planted.Credentials.AccessKeyID)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", "run the script")
	_, err = client.Caller(t.Context())
	wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", "run the script")
}

// A seed that STS could not be asked about is neither accepted nor refused.
func TestPlant_AnOutagePinsNothing(t *testing.T) {
	srv := start(t)
	once(t)
	clock := newClock()
	client := newClient(t, seeded, func(o *credentials.Options) { o.Now = clock.Now })
	client.Plant(seed(t, srv, otherRole))
	srv.SetFault(ststest.ServiceUnavailable)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "ServiceUnavailable", "GetCallerIdentity")
	srv.SetFault(ststest.NoFault)
	client.Plant(seed(t, srv, ownRole))
	assume(t, client, session(t, appRole))
}
