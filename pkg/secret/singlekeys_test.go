package secret_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

func withKeys(t *testing.T) secret.Target {
	t.Helper()
	to := target(t)
	to.Keys = true
	return to
}

func TestRender_Keys(t *testing.T) {
	for _, c := range []struct {
		name string
		to   secret.Target
		want []string
	}{
		{"not asked for", target(t), keys.Always()},
		{"asked for", withKeys(t), append(keys.Always(), keys.OnRequest()...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := secret.Render(c.to, testCredentials(time.Hour), nil).Data
			slices.Sort(c.want)
			if got := slices.Sorted(maps.Keys(data)); !slices.Equal(got, c.want) {
				t.Errorf("keys are %q, want %q", got, c.want)
			}
		})
	}
	data := secret.Render(withKeys(t), testCredentials(time.Hour), nil).Data
	for key, want := range map[string]string{"access-key-id": "ASIAEXAMPLE", "secret-access-key": "s3cr3t/Key+value=", "session-token": "IQoJ/token+value=="} {
		if string(data[key]) != want {
			t.Errorf("%s is %q", key, data[key])
		}
	}
}

// Keys come and go with what asks for them, and are restored, with the credentials that the Secret
// holds.
func TestIntact_Keys(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after secret.Target
		edit          func(*corev1.Secret)
		intact        bool
	}{
		{"kept", withKeys(t), withKeys(t), func(*corev1.Secret) {}, true},
		{"added", target(t), withKeys(t), func(*corev1.Secret) {}, false},
		{"removed", withKeys(t), target(t), func(*corev1.Secret) {}, false},
		{"one is missing", withKeys(t), withKeys(t), func(s *corev1.Secret) { delete(s.Data, "session-token") }, false},
		{"one was changed", withKeys(t), withKeys(t), func(s *corev1.Secret) { s.Data["secret-access-key"] = []byte("x") }, false},
		{"one is left", withKeys(t), target(t), func(s *corev1.Secret) { delete(s.Data, "session-token"); delete(s.Data, "access-key-id") }, false},
		{"another writer's", target(t), target(t), func(s *corev1.Secret) { s.Data["access-key-id"] = []byte(strings.Repeat("x", 1<<20)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(c.before, testCredentials(time.Hour), nil)
			c.edit(s)
			r := reduced(s, c.after)
			if secret.Intact(r, c.after) != c.intact || !secret.Repairable(r, c.after, "") {
				t.Errorf("intact is %t, repairable %t", secret.Intact(r, c.after), secret.Repairable(r, c.after, ""))
			}
			for _, key := range keys.OnRequest() {
				if r.Data[key] != nil || r.StringData[key] != "" && key != keys.AccessKeyID {
					t.Errorf("the cache keeps %s", key)
				}
			}
			if !intact(secret.Render(c.after, testCredentials(time.Hour), s), c.after) {
				t.Error("is not intact after it was written")
			}
		})
	}
	if target(t).Digest() == withKeys(t).Digest() {
		t.Error("its own users ask for keys, and that looks like another writer's change")
	}
}

// Without the account's ID, the SDK does not choose an endpoint by the account.
func TestRender_OmitAccountID(t *testing.T) {
	with, without := target(t), target(t)
	without.OmitAccountID = true
	s := secret.Render(without, testCredentials(time.Hour), nil)
	for key, data := range s.Data {
		if strings.Contains(string(data), "AccountId") {
			t.Errorf("%s has it: %s", key, data)
		}
	}
	if c, err := secret.Read(s); err != nil || c != testCredentials(time.Hour) {
		t.Errorf("reads %v, %v", c, err)
	}
	if !intact(s, without) || intact(s, with) || !secret.Repairable(reduced(s, with), with, "") {
		t.Error("a change of the setting is not repaired")
	}
}
