package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/credentials"
)

func TestWarn(t *testing.T) {
	denied := &trouble{action: "AssumeRole/AccessDenied", note: "it does not trust itself"}
	for _, c := range []struct {
		says    string
		since   time.Time // when it was read that expires at noon and was issued an hour before
		now     time.Time
		lacking string
		trouble *trouble
		reason  string
		action  string
		note    []string
		again   time.Duration
	}{
		{says: "fresh: not before half life", since: noon.Add(-time.Hour), now: noon.Add(-time.Hour), again: 30 * time.Minute},
		{says: "due for renewal: tried for some time first", since: noon.Add(-time.Hour), now: noon.Add(-40 * time.Minute), trouble: denied, again: 10 * time.Minute},
		{
			says: "not renewed", since: noon.Add(-time.Hour), now: noon.Add(-30 * time.Minute), trouble: denied,
			reason: ReasonSeedNotRenewed, action: "AssumeRole/AccessDenied", note: []string{"Secret kube-system/seed", "12:00:00", "it does not trust itself", "mend it"}, again: 5 * time.Minute,
		},
		{
			says: "not renewed, and nobody tried", since: noon.Add(-time.Hour), now: noon.Add(-20 * time.Minute),
			reason: ReasonSeedNotRenewed, action: "Renew", note: []string{"no attempt"}, again: 5 * time.Minute,
		},
		{
			says: "the last warning before the end", since: noon.Add(-time.Hour), now: noon.Add(-2 * time.Minute), trouble: denied,
			reason: ReasonSeedNotRenewed, action: "AssumeRole/AccessDenied", again: 2 * time.Minute,
		},
		{says: "read late: there was no time to renew it yet", since: noon.Add(-20 * time.Minute), now: noon.Add(-20 * time.Minute), again: 2 * time.Minute},
		{
			says: "STS refuses it", since: noon.Add(-time.Hour), now: noon.Add(-time.Hour), trouble: &trouble{action: "InvalidClientTokenId", note: "it was revoked", refused: true},
			reason: ReasonSeedExpired, action: "InvalidClientTokenId", note: []string{"it was revoked"}, again: 5 * time.Minute,
		},
		{says: "expired", since: noon.Add(-time.Hour), now: noon, reason: ReasonSeedExpired, action: "SeedExpired", note: []string{"expired at", "12:00:00", "mend it"}, again: 5 * time.Minute},
		{says: "missing", since: noon, now: noon, lacking: "does not exist", reason: ReasonSeedExpired, action: "NoSeed", note: []string{"Secret kube-system/seed does not exist", "mend it"}, again: 5 * time.Minute},
	} {
		t.Run(c.says, func(t *testing.T) {
			seed := planted{since: c.since, Seed: credentials.Seed{Name: "Secret kube-system/seed", Lacking: c.lacking, Remedy: func() string { return "mend it" }}}
			if c.lacking == "" {
				seed.Credentials = credentials.Credentials{AccessKeyID: "ASIA", Issued: noon.Add(-time.Hour), Expires: noon}
			}
			got := warn(seed, c.now, c.trouble)
			if got.reason != c.reason || got.action != c.action || got.again != c.again {
				t.Errorf("got %q, %q, again after %s", got.reason, got.action, got.again)
			}
			for _, text := range c.note {
				if !strings.Contains(got.note, text) {
					t.Errorf("%q does not say %q", got.note, text)
				}
			}
		})
	}
}

// In a burst of Secrets the API server has better to do than to note each success; what goes wrong is told all the same.
func TestSuccessInBulkIsNoNews(t *testing.T) {
	recorder := events.NewFakeRecorder(10_000)
	c := clocktesting.NewFakePassiveClock(noon)
	a := newAnnouncer(recorder, c)
	tell := func(n int) (told int) {
		for i := range n {
			name := types.NamespacedName{Namespace: "payments", Name: fmt.Sprintf("aws-iam-%d", i)}
			a.issued(&corev1.Pod{}, name, ReasonCreateCredentials, "it is there")
			a.refused(&corev1.Pod{}, name, ReasonRoleForbidden, "Authorize", "it may not")
		}
		for len(recorder.Events) > 0 {
			if strings.Contains(<-recorder.Events, ReasonCreateCredentials) {
				told++
			} else {
				n--
			}
		}
		if n != 0 {
			t.Errorf("%d refusals were not told", n)
		}
		return told
	}
	if told := tell(400); told != namespaceSuccessBurst {
		t.Errorf("%d of 400 were told", told)
	}
	c.SetTime(noon.Add(time.Second))
	if told := tell(warningEvents); told != namespaceSuccessEvents {
		t.Errorf("%d were told a second later", told)
	}
}
