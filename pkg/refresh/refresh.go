// Package refresh tells when credentials are to be renewed. It is pure: it knows no clock.
package refresh

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Lifetime is the life of one set of credentials.
type Lifetime struct {
	// Issued is when they were had, by the controller's clock.
	Issued time.Time
	// Expires is when STS ceases to accept them.
	Expires time.Time
}

// length is the whole life, and never negative.
func (l Lifetime) length() time.Duration { return max(0, l.Expires.Sub(l.Issued)) }

// Due is when to renew. Credentials are to have no less left than limit, nor than half their life; a limit of more than three quarters of the life is
// cut to that, so that a short session is not renewed without pause. Renewal is due when half the time until then is over: as much again remains to
// try, and what is due just as an outage of half a session begins is still good after it.
//
// With spread, from 0 to 1, it comes up to halfway earlier: credentials that were issued together are renewed over an eighth of their life
// and do not come back as one burst.
func (l Lifetime) Due(limit time.Duration, spread float64) time.Time {
	life := l.length()
	latest := life - max(life/2, min(limit, life/4*3))
	due := latest / 2
	return l.Issued.Add(due - time.Duration(float64(due/2)*spread))
}

// Urgent tells whether three quarters of the life have passed: renewal has then been due for so long that nothing may go before it.
func (l Lifetime) Urgent(now time.Time) bool {
	return l.Expires.Sub(now) < l.length()/4
}

// Spread is a number from 0 up to 1 for Due: always the same for one Secret and life, so that a restart of the controller changes
// nothing, and evenly spread over many.
func Spread(secret string, l Lifetime) float64 {
	sum := sha256.Sum256([]byte(secret + l.Expires.UTC().Format(time.RFC3339)))
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}
