package credentials_test

import (
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	otherRole    = "arn:aws:iam::123456789012:role/another"
	otherAccount = "arn:aws:iam::210987654321:role/controller"
)

// based sets a base role ARN in account 123456789012.
func based(t *testing.T) func(*credentials.Options) {
	t.Helper()
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/pods/")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *credentials.Options) { o.Base = base }
}

func TestSetSeed_PinsToTheRoleOfTheFirstSeed(t *testing.T) {
	for _, c := range []struct {
		name, next string
		accepted   bool
	}{
		{"the same role", ownRole, true},
		{"the same role, whose path a session's ARN leaves out", "arn:aws:iam::123456789012:role/team/controller", true},
		{"another role of the account", otherRole, false},
		{"a role of the same name in another account", otherAccount, false},
	} {
		for _, behind := range []string{"", hub} { // without and with an intermediate role
			t.Run(c.name+behind, func(t *testing.T) {
				srv := start(t)
				once(t)
				client := newClient(t, seeded, func(o *credentials.Options) {
					if behind != "" {
						through(t)(o)
					}
				})
				client.SetSeed(seed(t, srv, ownRole))
				assume(t, client, session(t, appRole))

				next := seed(t, srv, c.next)
				client.SetSeed(next)
				if c.accepted {
					assume(t, client, session(t, appRole))
					return
				}
				before := len(srv.Calls())
				for range 3 {
					_, err := client.Assume(t.Context(), session(t, appRole))
					wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole", "Secret kube-system/seed", role.SessionRole(arnOf(srv, &next)).String(),
						"role controller of account 123456789012", "restart the controller")
					_, err = client.BaseClient().Caller(t.Context())
					wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole")
				}
				if got := operations(srv)[before:]; !slices.Equal(got, []string{"GetCallerIdentity"}) {
					t.Errorf("with the other seed STS got %q", got)
				}
				if left := time.Until(client.BaseExpires()); left > 0 {
					t.Errorf("the refused seed counts for %s", left)
				}

				good := seed(t, srv, ownRole)
				client.SetSeed(good)
				assume(t, client, session(t, appRole))
				if !client.BaseExpires().Equal(good.Credentials.Expires) {
					t.Errorf("its own credentials expire at %s", client.BaseExpires())
				}
			})
		}
	}
}

// arnOf returns the identity of a seed by STS.
func arnOf(srv *ststest.Server, s *credentials.Seed) string {
	issued, _ := srv.IssuedTo(s.Credentials.AccessKeyID)
	return issued.ARN
}

func TestSetSeed_PinsToTheAccountOfTheBaseRoleARN(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded, based(t))
	client.SetSeed(seed(t, srv, otherAccount))
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "SeedOfAnotherRole", "Secret kube-system/seed", "role controller of account 210987654321", "--base-role-arn names account 123456789012")
	client.SetSeed(seed(t, srv, ownRole))
	assume(t, client, session(t, appRole))
}

// The base role ARN is in the account of the intermediate role, which can differ from the seed's.
func TestSetSeed_AnyAccountBehindAnIntermediateRole(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded, based(t), through(t))
	client.SetSeed(seed(t, srv, otherAccount))
	assume(t, client, session(t, appRole))
}

// The identity of a seed is used only until STS refuses the seed.
func TestCaller_RevokedSeed(t *testing.T) {
	srv := start(t)
	once(t)
	client := newClient(t, seeded)
	planted := seed(t, srv, ownRole)
	client.SetSeed(planted)
	assume(t, client, session(t, appRole))
	srv.Revoke(planted.Credentials.AccessKeyID)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", "run the script")
	_, err = client.Caller(t.Context())
	wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", "run the script")
}

// A seed that STS could not be asked about is neither accepted nor refused.
func TestSetSeed_AnOutagePinsNothing(t *testing.T) {
	srv := start(t)
	once(t)
	clock := newClock()
	client := newClient(t, seeded, func(o *credentials.Options) { o.Now = clock.Now })
	client.SetSeed(seed(t, srv, otherRole))
	srv.SetFault(ststest.ServiceUnavailable)
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "ServiceUnavailable", "GetCallerIdentity")
	srv.SetFault(ststest.NoFault)
	client.SetSeed(seed(t, srv, ownRole))
	assume(t, client, session(t, appRole))
}
