package controllers

import "time"

// pace spaces out what is written into one Secret, whatever causes it: some writes at once, and
// then with pauses that grow. The zero value has written nothing.
type pace struct {
	// count is how many writes followed each other without a rest, and last when the last one was.
	count int
	last  time.Time
	// longest is the longest pause.
	longest time.Duration
}

const (
	// freeWrites is how many writes of one Secret may follow each other at once.
	freeWrites = 3
	// firstPause is the pause after these; it doubles with each write.
	firstPause = time.Second
	// maxPause is the longest pause, for sessions of 16 minutes and more.
	maxPause = time.Minute
	// pausesInASession bounds the pause in shorter sessions, so that it never holds up a renewal.
	pausesInASession = 16
)

// next returns the time before which the Secret must not be written again; zero if it may be
// written at once.
func (p pace) next(now time.Time) time.Time {
	p = p.rested(now)
	if p.count < freeWrites {
		return time.Time{}
	}
	pause := firstPause
	for i := freeWrites; i < p.count && pause < p.longest; i++ {
		pause *= 2
	}
	return p.last.Add(min(pause, p.longest))
}

// wrote returns the pace after one more write, of credentials that live that long.
func (p pace) wrote(now time.Time, life time.Duration) pace {
	return pace{count: p.rested(now).count + 1, last: now, longest: min(maxPause, life/pausesInASession)}
}

// rested returns the pace as it is now: after twice the longest pause without a write, nothing is
// left of it.
func (p pace) rested(now time.Time) pace {
	if p.restedBy().After(now) {
		return p
	}
	return pace{}
}

// restedBy returns when nothing is left of the pace if nothing is written until then.
func (p pace) restedBy() time.Time { return p.last.Add(2 * p.longest) }
