package renewal

import (
	"hash/fnv"
	"math"
	"time"
)

// Backoff spaces out the attempts to write one Secret while they fail. The zero value has no failed
// attempts.
type Backoff struct {
	// pause is how long to wait after the next failure, if not the first pause.
	pause time.Duration
}

const (
	// MaxBackoff is the longest pause, without jitter. The first one is a second, and then it
	// doubles: most causes pass at once, and a change in IAM is found within a minute.
	MaxBackoff   = time.Minute
	firstBackoff = time.Second
	// backoffJitter is the largest part by which a pause is longer, so that what failed together is
	// not tried again together.
	backoffJitter = 0.2
)

// After returns when to try again after one more failure, and the Backoff with it. left is for how
// long the Secret's credentials can be used. One Secret always has the same pauses.
func (b Backoff) After(secret string, now time.Time, left time.Duration) (retryAt time.Time, next Backoff) {
	pause := max(firstBackoff, b.pause)
	next.pause = min(2*pause, MaxBackoff)
	pause += time.Duration(backoffJitter * Fraction(secret+pause.String()) * float64(pause))
	shortened := Hurry(pause, left)
	if shortened < pause { // that is no reason for longer pauses once nothing is left
		next = b
	}
	return now.Add(shortened), next
}

// Hurry shortens a pause where credentials are left that pods can use: to an eighth of what is
// left, but a second at least. After an outage those that are closest to their end come first.
func Hurry(pause, left time.Duration) time.Duration {
	if left <= 0 {
		return pause
	}
	return min(pause, max(time.Second, left/8))
}

// Fraction returns a number from 0 to 1: always the same for one text, and evenly spread over many.
func Fraction(text string) float64 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(text)) // never fails
	return float64(sum.Sum32()) / math.MaxUint32
}
