package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/records"
)

// A seed is of use until it expires, other credentials only while pods can use them.
func TestState_Left(t *testing.T) {
	for _, c := range []struct {
		says string
		s    state
		want time.Duration
	}{
		{"nothing", good(missing), 0},
		{"of a Secret", good(issuedAgo(50 * time.Minute)), 5 * time.Minute},
		{"of a dead Secret", good(issuedAgo(56 * time.Minute)), 0},
		{"of the seed", good(issuedAgo(56*time.Minute), ownSeed), 4 * time.Minute},
		{"of a dead seed", good(issuedAgo(2*time.Hour), ownSeed), 0},
		{"of no seed", good(missing, ownSeed), 0},
	} {
		if got := c.s.left(); got != c.want {
			t.Errorf("%s: %s, want %s", c.says, got, c.want)
		}
	}
}

// Whenever STS is away for half a session, a Secret has new credentials soon after STS is back, and
// so long before the old ones are of no use that the kubelet can bring them to the pod.
func TestRetries_AfterAnOutageOfHalfASession(t *testing.T) {
	for _, c := range []struct {
		says                 string
		life, limit, kubelet time.Duration
	}{
		{"twelve hours", 12 * time.Hour, 30 * time.Minute, 90 * time.Second},
		{"an hour", time.Hour, 30 * time.Minute, 90 * time.Second},
		{"the shortest that AWS gives", 15 * time.Minute, 30 * time.Minute, 90 * time.Second},
		{"a minute, in tests", time.Minute, 30 * time.Second, 5 * time.Second},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := state{current: currentSince(noon), limit: c.limit}
			s.current.credentials.Expires = noon.Add(c.life)
			for _, s.spread = range []float64{0, 0.5, 1} {
				for begins := noon; begins.Before(s.due().Add(time.Second)); begins = begins.Add(c.life / 240) {
					ends := begins.Add(c.life / 2)
					renewed := renewedAt(s, begins, ends)
					if late := renewed.Sub(ends); late > min(72*time.Second, max(time.Second, s.current.left(ends)/7)) { // an eighth of what was left at the last attempt
						t.Errorf("away for %s from %s on: renewed %s later, when %s had been left", c.life/2, begins.Sub(noon), late, s.current.left(ends))
					}
					if s.current.left(renewed) < c.kubelet {
						t.Errorf("away for %s from %s on: %s were left", c.life/2, begins.Sub(noon), s.current.left(renewed))
					}
				}
			}
		})
	}
}

// renewedAt returns when a Secret is renewed if all attempts fail from one time until another.
func renewedAt(s state, from, until time.Time) time.Time {
	var last *records.Failure
	now := s.due()
	for !now.Before(from) && now.Before(until) {
		last = records.Failure{}.After(last, types.NamespacedName{}, now, s.current.left(now))
		now = last.RetryAt
	}
	return now
}
