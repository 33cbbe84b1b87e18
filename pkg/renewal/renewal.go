// Package renewal computes when credentials are due for renewal. It is pure: callers pass the time.
package renewal

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Lifetime is the lifetime of credentials.
type Lifetime struct {
	// Issued is the time of issue, by the controller's clock.
	Issued time.Time
	// Expires is the time at which STS stops accepting them.
	Expires time.Time
}

// duration returns the length of the lifetime, which is never negative.
func (l Lifetime) duration() time.Duration { return max(0, l.Expires.Sub(l.Issued)) }

// Due returns the time at which renewal is due. The deadline for the renewal is when the remaining
// lifetime falls to limit or to half of the lifetime, whichever comes first. A limit of more than
// three quarters of the lifetime is reduced to that, so that short sessions are not renewed all the
// time. Renewal is due halfway to the deadline: the other half remains for retries, and credentials
// that are due just as an outage of half a session begins are still valid at its end.
//
// jitter, from 0 to 1, moves the time up to half of the way towards the time of issue. It spreads
// the renewals of credentials that were issued together over an eighth of their lifetime.
func (l Lifetime) Due(limit time.Duration, jitter float64) time.Time {
	life := l.duration()
	deadline := life - max(life/2, min(limit, life/4*3))
	due := deadline / 2
	return l.Issued.Add(due - time.Duration(float64(due/2)*jitter))
}

// Urgent reports whether three quarters of the lifetime have passed. The renewal is then overdue,
// and comes before all others.
func (l Lifetime) Urgent(now time.Time) bool {
	return l.Expires.Sub(now) < l.duration()/4
}

// Jitter returns a number in [0, 1) for Due. It depends only on the Secret and the expiry, so that
// a restart of the controller changes nothing, and it is uniformly distributed over many Secrets.
func Jitter(secret string, l Lifetime) float64 {
	sum := sha256.Sum256([]byte(secret + l.Expires.UTC().Format(time.RFC3339)))
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}
