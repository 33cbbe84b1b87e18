package renewal

import "time"

// Pace spaces out the writes of one Secret, whatever causes them: some at once, then with pauses
// that grow. The zero value has no writes.
type Pace struct {
	// Count is how many writes followed each other without a rest, and last when the last one was.
	Count int
	last  time.Time
	// longest is the longest pause.
	longest time.Duration
}

const (
	// FreeWrites is how many writes of one Secret can follow each other at once.
	FreeWrites = 3
	// firstPause is the pause after these; it doubles with each write.
	firstPause = time.Second
	// maxPause is the longest pause, for sessions of 16 minutes and more.
	maxPause = time.Minute
	// pausesPerSession bounds the pause in shorter sessions, so that it never delays a renewal.
	pausesPerSession = 16
)

// Next returns the time before which the Secret must not be written again; zero if it can be
// written at once.
func (p Pace) Next(now time.Time) time.Time {
	p = p.rested(now)
	if p.Count < FreeWrites {
		return time.Time{}
	}
	pause := firstPause
	for i := FreeWrites; i < p.Count && pause < p.longest; i++ {
		pause *= 2
	}
	if at := p.last.Add(min(pause, p.longest)); at.After(now) {
		return at
	}
	return time.Time{}
}

// AfterWrite returns the pace after one more write, of credentials with a life.
func (p Pace) AfterWrite(now time.Time, life time.Duration) Pace {
	return Pace{Count: p.rested(now).Count + 1, last: now, longest: min(maxPause, life/pausesPerSession)}
}

// rested returns the pace as it is now: zero after twice the longest pause without a write.
func (p Pace) rested(now time.Time) Pace {
	if p.RestedBy().After(now) {
		return p
	}
	return Pace{}
}

// RestedBy returns when the pace is zero if nothing is written until then.
func (p Pace) RestedBy() time.Time { return p.last.Add(2 * p.longest) }
