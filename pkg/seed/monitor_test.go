package seed

import (
	"strings"
	"testing"
	"time"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestCheck(t *testing.T) {
	denied := &RenewalError{Action: "AssumeRole/AccessDenied", Note: "it does not trust itself"}
	for _, c := range []struct {
		says    string
		since   time.Time // when it was read that expires at noon and was issued an hour before
		now     time.Time
		lacking string
		trouble *RenewalError
		reason  string
		action  string
		note    []string
		again   time.Duration
	}{
		{says: "fresh: not before half life", since: noon.Add(-time.Hour), now: noon.Add(-time.Hour), again: 30 * time.Minute},
		{says: "due for renewal: tried for some time first", since: noon.Add(-time.Hour), now: noon.Add(-40 * time.Minute), trouble: denied, again: 10 * time.Minute},
		{
			says: "not renewed", since: noon.Add(-time.Hour), now: noon.Add(-30 * time.Minute), trouble: denied,
			reason: v1.ReasonSeedNotRenewed, action: "AssumeRole/AccessDenied", note: []string{"Secret kube-system/seed", "12:00:00", "it does not trust itself", "replace it"}, again: 5 * time.Minute,
		},
		{
			says: "not renewed, and not tried yet", since: noon.Add(-time.Hour), now: noon.Add(-20 * time.Minute),
			reason: v1.ReasonSeedNotRenewed, action: "Renew", note: []string{"no attempt"}, again: 5 * time.Minute,
		},
		{
			says: "the last warning before the end", since: noon.Add(-time.Hour), now: noon.Add(-2 * time.Minute), trouble: denied,
			reason: v1.ReasonSeedNotRenewed, action: "AssumeRole/AccessDenied", again: 2 * time.Minute,
		},
		{says: "read late: there was no time to renew it yet", since: noon.Add(-20 * time.Minute), now: noon.Add(-20 * time.Minute), again: 2 * time.Minute},
		{
			says: "STS refuses it", since: noon.Add(-time.Hour), now: noon.Add(-time.Hour), trouble: &RenewalError{Action: "InvalidClientTokenId", Note: "it was revoked", Rejected: true},
			reason: v1.ReasonSeedExpired, action: "InvalidClientTokenId", note: []string{"it was revoked"}, again: 5 * time.Minute,
		},
		{says: "expired", since: noon.Add(-time.Hour), now: noon, reason: v1.ReasonSeedExpired, action: "SeedExpired", note: []string{"expired at", "12:00:00", "replace it"}, again: 5 * time.Minute},
		{says: "missing", since: noon, now: noon, lacking: "does not exist", reason: v1.ReasonSeedExpired, action: "NoSeed", note: []string{"Secret kube-system/seed does not exist", "replace it"}, again: 5 * time.Minute},
	} {
		t.Run(c.says, func(t *testing.T) {
			seed := state{readAt: c.since, Seed: credentials.Seed{Name: "Secret kube-system/seed", Problem: c.lacking, Remedy: func() string { return "replace it" }}}
			if c.lacking == "" {
				seed.Credentials = credentials.Credentials{AccessKeyID: "ASIA", Issued: noon.Add(-time.Hour), Expires: noon}
			}
			got := check(seed, c.now, c.trouble)
			if got.event.Reason != c.reason || got.event.Action != c.action || got.next != c.again {
				t.Errorf("got %q, %q, again after %s", got.event.Reason, got.event.Action, got.next)
			}
			for _, text := range c.note {
				if !strings.Contains(got.event.Note, text) {
					t.Errorf("%q does not say %q", got.event.Note, text)
				}
			}
		})
	}
}
