package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestHurried(t *testing.T) {
	for _, c := range []struct {
		says              string
		pause, left, want time.Duration
	}{
		{"there is time", time.Minute, 50 * time.Minute, time.Minute},
		{"an eighth of what is left", time.Minute, 4 * time.Minute, 30 * time.Second},
		{"just as long as it would be", time.Minute, 8 * time.Minute, time.Minute},
		{"a short wait stays", time.Second, 4 * time.Minute, time.Second},
		{"a second at least", time.Minute, 3 * time.Second, time.Second},
		{"even if that is too late", time.Minute, time.Millisecond, time.Second},
		{"nothing is left, or was there", time.Minute, 0, time.Minute},
		{"dead for long", time.Minute, -time.Hour, time.Minute},
	} {
		t.Run(c.says, func(t *testing.T) {
			if got := hurried(c.pause, c.left); got != c.want {
				t.Errorf("waits %s, want %s", got, c.want)
			}
		})
	}
}

// What was hurried while credentials died is not paid for when they are gone.
func TestHurriedAttemptsDoNotAddUp(t *testing.T) {
	var last *failure
	now := noon
	for range 20 {
		last = afterFailure(types.NamespacedName{}, last, now, 4*time.Second, failure{})
		now = last.until
	}
	if wait := afterFailure(types.NamespacedName{}, last, now, 0, failure{}).until.Sub(now); wait > 2*time.Second {
		t.Errorf("the first wait after that is %s", wait)
	}
}

// What is left of the seed is counted to its very end, and not to that of what pods can use.
func TestLeft(t *testing.T) {
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
		if got := c.s.left(noon); got != c.want {
			t.Errorf("%s: %s, want %s", c.says, got, c.want)
		}
	}
}

// Whenever STS goes away for half a session, a Secret has new credentials so long before the old ones are of no use that the kubelet can bring them to the
// pod, and soon after STS is back.
func TestAnOutageOfHalfASession(t *testing.T) {
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
			s := state{held: heldSince(noon), limit: c.limit}
			s.held.credentials.Expires = noon.Add(c.life)
			for _, s.spread = range []float64{0, 0.5, 1} {
				for begins := noon; begins.Before(s.due().Add(time.Second)); begins = begins.Add(c.life / 240) {
					ends := begins.Add(c.life / 2)
					renewed := renewedAt(s, begins, ends)
					if late := renewed.Sub(ends); late > min(72*time.Second, max(time.Second, s.held.left(ends)/7)) { // an eighth of what was left at the last attempt
						t.Errorf("away for %s from %s on: renewed %s later, when %s had been left", c.life/2, begins.Sub(noon), late, s.held.left(ends))
					}
					if s.held.left(renewed) < c.kubelet {
						t.Errorf("away for %s from %s on: %s were left", c.life/2, begins.Sub(noon), s.held.left(renewed))
					}
				}
			}
		})
	}
}

// renewedAt is when a Secret is renewed if all attempts fail that are made from one time until another.
func renewedAt(s state, from, until time.Time) time.Time {
	var last *failure
	now := s.due()
	for !now.Before(from) && now.Before(until) {
		last = afterFailure(types.NamespacedName{}, last, now, s.held.left(now), failure{})
		now = last.until
	}
	return now
}
