package credentials_test

import (
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

func TestIsOwnRole(t *testing.T) {
	for _, c := range []struct {
		name, arn   string
		own, behind bool // without and with the role hub in between
	}{
		{"the base's role", node, true, true},
		{"with a path", "arn:aws:iam::123456789012:role/team/node", true, true},
		{"in another case", "arn:aws:iam::123456789012:role/NODE", true, true},
		{"in another partition", "arn:aws-cn:iam::123456789012:role/node", true, true},
		{"of another account", "arn:aws:iam::210987654321:role/node", false, false},
		{"the role of --assume-role", hub, false, true},
		{"the role of --assume-role in another case, with a path", "arn:aws:iam::123456789012:role/x/Hub", false, true},
		{"a pod's", appRole, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			signInAsNode(t, srv)
			for _, client := range []struct {
				is   *credentials.Client
				want bool
			}{{newClient(t), c.own}, {newClient(t, through(t)), c.behind}, {newClient(t, through(t)).BaseClient(), c.behind}} {
				if got, err := client.is.IsOwnRole(t.Context(), arn(t, c.arn)); err != nil || got != client.want {
					t.Errorf("got %t, %v", got, err)
				}
			}
		})
	}
}

// A user is no role, but its intermediate role is.
func TestIsOwnRole_User(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "node"))
	client := newClient(t, through(t))
	if got, err := client.IsOwnRole(t.Context(), arn(t, node)); err != nil || got {
		t.Errorf("user node is role node: %t, %v", got, err)
	}
	if got, err := client.IsOwnRole(t.Context(), arn(t, hub)); err != nil || !got {
		t.Errorf("hub is its own: %t, %v", got, err)
	}
}

func TestIsOwnRole_UnknownWithoutSTS(t *testing.T) {
	srv := start(t)
	once(t)
	signInAsNode(t, srv)
	clock := newClock()
	client := newClient(t, through(t), func(o *credentials.Options) { o.Now = clock.Now })
	srv.SetFault(ststest.ServiceUnavailable)
	_, err := client.IsOwnRole(t.Context(), arn(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "ServiceUnavailable", "GetCallerIdentity")
	if got, err := client.IsOwnRole(t.Context(), arn(t, hub)); err != nil || !got {
		t.Errorf("the role of --assume-role is known without asking: %t, %v", got, err)
	}

	srv.SetFault(ststest.NoFault)
	clock.Step(credentials.CallerRetry)
	for range 3 {
		if got, err := client.IsOwnRole(t.Context(), arn(t, appRole)); err != nil || got {
			t.Errorf("got %t, %v", got, err)
		}
	}
	srv.SetFault(ststest.ServiceUnavailable)
	if got, err := client.IsOwnRole(t.Context(), arn(t, node)); err != nil || !got {
		t.Errorf("what STS answered is not remembered: %t, %v", got, err)
	}
	if got := srv.Counts()[ststest.Outcome{Operation: "GetCallerIdentity"}]; got != 1 {
		t.Errorf("STS was asked %d times", got)
	}
}

// Keys can be replaced by those of another role before STS refuses them.
func TestIsOwnRole_FollowsTheKeys(t *testing.T) {
	srv := start(t)
	m := instance(t, "")
	old := giveSession(t, srv, m, 4*time.Minute) // shorter than keys are kept
	client := newClient(t)
	if got, err := client.IsOwnRole(t.Context(), arn(t, node)); err != nil || !got {
		t.Fatalf("got %t, %v", got, err)
	}
	keys, err := srv.AddSession(hub, "i-0123", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m.give(keys, time.Now().Add(time.Hour))
	assume(t, client, session(t, appRole))
	if got, err := client.IsOwnRole(t.Context(), arn(t, hub)); err != nil || !got {
		t.Errorf("it is hub now: %t, %v", got, err)
	}
	if client.UsesKey(old.AccessKeyID) || !client.UsesKey(keys.AccessKeyID) {
		t.Error("it uses its old key")
	}
}

func TestUsesKey(t *testing.T) {
	srv := start(t)
	client := newClient(t, seeded, through(t))
	first, second := seed(t, srv, ownRole), seed(t, srv, ownRole)
	if client.UsesKey("") || client.UsesKey(first.Credentials.AccessKeyID) {
		t.Error("without a seed it uses a key")
	}
	client.SetSeed(first)
	if !client.UsesKey(first.Credentials.AccessKeyID) || len(srv.Calls()) > 0 {
		t.Error("it does not use its seed, or asks STS about it")
	}
	pods := assume(t, client, session(t, appRole))
	calls := srv.Calls()
	works := slices.IndexFunc(calls, func(c ststest.Call) bool { return c.RoleARN == appRole })
	if !client.UsesKey(first.Credentials.AccessKeyID) || !client.UsesKey(calls[works].CallerKeyID) {
		t.Error("it does not use what it works with")
	}
	if client.UsesKey(pods.AccessKeyID) {
		t.Error("it uses a pod's key")
	}
	client.SetSeed(second)
	assume(t, client, session(t, appRole))
	if client.UsesKey(first.Credentials.AccessKeyID) || !client.UsesKey(second.Credentials.AccessKeyID) {
		t.Error("it uses its old seed")
	}
}
