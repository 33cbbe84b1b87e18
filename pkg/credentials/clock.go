package credentials

import (
	"sync"
	"time"
)

// Clock shows the time of STS, by which credentials expire: the local time, corrected while the
// answers of STS show that the local clock is wrong. It is safe for concurrent use, and a
// clock.PassiveClock.
//
// The SDK's own skew (middleware.GetAttemptSkew) cannot replace it. It is the distance of a Date
// from the middle of one attempt by time.Now. So a process that is stopped for a minute during a
// call makes a right clock look wrong by half a minute, where Clock needs the times of request and
// answer. It also is relative to the local clock, and so wrong again once that clock is set, where
// Clock continues by the monotonic clock and notices the step. And the SDK keeps it no longer than
// a call.
type Clock struct {
	local        func() time.Time
	elapsed      func() time.Duration
	onCorrection func(ahead time.Duration) // nil for none; must not use the Clock

	mu       sync.Mutex
	anchor   *anchorPoint // nil while the local clock is trusted
	lastCall *reading     // when the last answered call began; nil if there was none
}

// reading is what the two local clocks show at one moment: the wall clock, and the monotonic one,
// which cannot be set.
type reading struct {
	wall    time.Time
	elapsed time.Duration
}

// anchorPoint is one moment by the local monotonic clock and by the clock of STS.
type anchorPoint struct {
	elapsed time.Duration
	sts     time.Time
}

// at returns the time of STS at a reading of the local clocks.
func (m *anchorPoint) at(r reading) time.Time { return m.sts.Add(r.elapsed - m.elapsed) }

// newClock returns the Clock of a Client.
func newClock(o *Options) *Clock {
	c := &Clock{local: o.Now, elapsed: o.Elapsed, onCorrection: o.ClockCorrected}
	if c.elapsed == nil {
		start := o.Now()
		c.elapsed = func() time.Duration { return o.Now().Sub(start) } // by the monotonic reading, if Now has one
	}
	return c
}

func (c *Clock) read() reading { return reading{wall: c.local().Round(0), elapsed: c.elapsed()} }

const (
	// maxClockError is how far the local clock can be off and still be trusted. It exceeds the
	// uncertainty of one answer, so a synchronized clock, off by some milliseconds, is never
	// corrected; and it is negligible for credentials that live for at least 15 minutes.
	maxClockError = 5 * time.Second
	// maxErrorToTrust is how far off the local clock can be to be trusted again. It is smaller than
	// maxClockError, so that a clock at the limit is not corrected again and again.
	maxErrorToTrust = 2 * time.Second
	// dateResolution is that of the Date header. Source: RFC 9110, "Date/Time Formats".
	dateResolution = time.Second
)

// Now returns the time of STS.
func (c *Clock) Now() time.Time {
	if anchor := c.currentAnchor(); anchor != nil {
		return anchor.at(c.read())
	}
	return c.local()
}

func (c *Clock) currentAnchor() *anchorPoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.anchor
}

// Since returns the time that has passed since then.
func (c *Clock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// Offset returns how far the local clock is ahead of the clock of STS: negative if it is behind,
// and zero while it is trusted.
func (c *Clock) Offset() time.Duration { return c.offset(c.currentAnchor()) }

func (c *Clock) offset(anchor *anchorPoint) time.Duration {
	if anchor == nil {
		return 0
	}
	now := c.read()
	return now.wall.Sub(anchor.at(now))
}

// localClockStepped reports whether the local clock was set since the last answer of STS, or the
// machine was suspended and its monotonic clock with it.
func (c *Clock) localClockStepped() bool {
	c.mu.Lock()
	last := c.lastCall
	c.mu.Unlock()
	now := c.read()
	return last != nil && (now.wall.Sub(last.wall)-(now.elapsed-last.elapsed)).Abs() > maxClockError
}

// Trusted reports whether Now can be relied on. It cannot from a step of the local clock until the
// next answer of STS. Before the first answer the local clock is trusted.
func (c *Clock) Trusted() bool { return !c.localClockStepped() }

// observe takes in the Date of an answer of STS, and the readings of the local clocks when the call
// began and ended. STS read its clock at an unknown moment between the two.
func (c *Clock) observe(date time.Time, began, ended reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastCall = &began // not ended: the clock could be set in between
	before, allowed := c.anchor, maxClockError
	if before != nil {
		allowed = maxErrorToTrust
	}
	trusted := plausible(date, began.wall, ended.wall, allowed)
	switch {
	case trusted && before == nil:
		return
	case trusted:
		c.anchor = nil
	case before != nil && plausible(date, before.at(began), before.at(ended), maxClockError):
		return
	default: // the middle of the possible times
		c.anchor = &anchorPoint{elapsed: ended.elapsed, sts: date.Add((dateResolution + ended.elapsed - began.elapsed) / 2)}
	}
	if c.onCorrection != nil {
		c.onCorrection(c.offset(c.anchor))
	}
}

// plausible reports whether a clock that showed began and ended can be the one that wrote date
// between them, with an error of at most allowed.
func plausible(date, began, ended time.Time, allowed time.Duration) bool {
	return !date.Add(dateResolution+allowed).Before(began) && !date.Add(-allowed).After(ended)
}
