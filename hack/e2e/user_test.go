//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials/ststest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// issued knows the sessions A and B, which were issued at noon and half a minute later.
func issued(key string) (ststest.Session, bool) {
	at, known := map[string]time.Time{"A": noon, "B": noon.Add(30 * time.Second)}[key]
	return ststest.Session{Issued: at, Expires: at.Add(sdkSession)}, known
}

func newUser() *user { return &user{sdk: sdk{name: "any"}, left: sdkSession} }

func call(key string, second int) ststest.Call {
	return ststest.Call{Operation: "GetCallerIdentity", CallerRoleARN: roleARN("sdk-any"), CallerKeyID: key, Time: noon.Add(time.Duration(second) * time.Second)}
}

func TestUserCountsRotations(t *testing.T) {
	u := newUser()
	for _, c := range []ststest.Call{call("A", 5), call("A", 6), call("B", 40), call("A", 41), call("B", 80), call("unknown", 81)} {
		if err := u.heard(c, issued); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(u.lags, []time.Duration{10 * time.Second}) {
		t.Errorf("took up new keys after %v", u.lags)
	}
	if u.left != 10*time.Second {
		t.Errorf("%s were left of a session at the least", u.left)
	}
}

func TestUserNoticesRefusedCalls(t *testing.T) {
	u := newUser()
	other := call("A", 5)
	other.CallerRoleARN, other.Code = roleARN("sdk-other"), "ExpiredToken"
	if err := u.heard(other, issued); err != nil {
		t.Errorf("of another user: %v", err)
	}
	mine := call("A", 5)
	mine.Code = "ExpiredToken"
	if err := u.heard(mine, issued); err == nil || !strings.Contains(err.Error(), "ExpiredToken") || u.failed != 1 {
		t.Errorf("error is %v, %d failed", err, u.failed)
	}
}

func TestUserCountsDeletedSecrets(t *testing.T) {
	for _, c := range []struct {
		says   string
		byHand int
		seen   []types.UID
		want   int
	}{
		{"the first one", 0, []types.UID{"1"}, 0},
		{"one that stays", 0, []types.UID{"1", "1", "1"}, 0},
		{"one that is gone", 0, []types.UID{"1", "", ""}, 1},
		{"one that is gone and comes back", 0, []types.UID{"1", "", "2"}, 1},
		{"one that is another all at once", 0, []types.UID{"1", "2"}, 1},
		{"twice", 0, []types.UID{"1", "2", "", "3"}, 2},
		{"by hand", 1, []types.UID{"1", "2", "2"}, 0},
		{"by hand, seen while it is gone", 1, []types.UID{"1", "", "2"}, 0},
		{"by hand and then by the controller", 1, []types.UID{"1", "2", "3"}, 1},
		{"none yet", 0, []types.UID{"", "", "1"}, 0},
	} {
		t.Run(c.says, func(t *testing.T) {
			u := newUser()
			u.byHand = c.byHand
			for _, uid := range c.seen {
				u.sees(uid, ststest.Session{})
			}
			if u.deleted != c.want {
				t.Errorf("%d deleted, want %d", u.deleted, c.want)
			}
		})
	}
}

func TestUserKnowsHowOldItsSecretIs(t *testing.T) {
	u := newUser()
	if u.renewed(noon) {
		t.Error("no Secret is as good as a new one")
	}
	a, _ := issued("A")
	u.sees("1", a)
	u.sees("1", ststest.Session{}) // somebody spoiled it
	if !u.held.Issued.Equal(noon) || !u.renewed(noon.Add(16*time.Second)) || u.renewed(noon.Add(18*time.Second)) {
		t.Errorf("holds %+v", u.held)
	}
	if u.overdue(noon.Add(20*time.Second)) != 0 || u.overdue(noon.Add(50*time.Second)) != 20*time.Second {
		t.Errorf("overdue by %s and %s", u.overdue(noon.Add(20*time.Second)), u.overdue(noon.Add(50*time.Second)))
	}
	if d := newUser().overdue(noon); d != 0 {
		t.Errorf("without a Secret overdue by %s", d)
	}
}
