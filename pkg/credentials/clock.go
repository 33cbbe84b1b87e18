package credentials

import (
	"sync"
	"sync/atomic"
	"time"
)

// Clock tells the time of STS, by which credentials expire: that of the machine, unless what STS answers shows that the machine's clock is wrong. It
// is safe for concurrent use, and a clock.PassiveClock.
type Clock struct {
	machine   func() time.Time
	corrected func(ahead time.Duration) // may be nil
	lock      sync.Mutex                // of who corrects
	right     atomic.Pointer[moment]    // nil as long as the machine's clock is right
}

// moment is one moment by the machine's clock and by that of STS.
type moment struct{ machine, sts time.Time }

// at is what the clock of STS shows when the machine's shows this. Go measures the time between by the machine's monotonic clock, so that somebody who sets
// the machine's clock right does not set this one wrong.
func (m *moment) at(machine time.Time) time.Time { return m.sts.Add(machine.Sub(m.machine)) }

const (
	// maxClockError is how far the machine's clock may be off and is still believed. It is beyond what one answer leaves open, so a clock that is kept right,
	// mostly to some milliseconds, is never touched; and nothing for credentials that live for 15 minutes at least.
	maxClockError = 5 * time.Second
	// maxErrorAgain is how far off it may be to be believed again. It is less, so that a clock at the limit is not corrected again and again.
	maxErrorAgain = 2 * time.Second
	// dateResolution is that of the Date header. Source: RFC 9110, "Date/Time Formats".
	dateResolution = time.Second
)

// Now is the time.
func (c *Clock) Now() time.Time {
	now := c.machine()
	if right := c.right.Load(); right != nil {
		return right.at(now)
	}
	return now
}

// Since is the time that has passed since then.
func (c *Clock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// Ahead is by how much the machine's clock is ahead of that of STS; it is negative if the machine's is behind, and zero if it is believed.
func (c *Clock) Ahead() time.Duration {
	right := c.right.Load()
	if right == nil {
		return 0
	}
	now := c.machine()
	return now.Sub(right.at(now))
}

// hear takes in the Date of an answer of STS, and when by the machine's clock the call began and its answer was there. Of the time between these, however
// long it was, nothing is known but that STS read its clock within it.
func (c *Clock) hear(date, began, ended time.Time) {
	c.lock.Lock()
	defer c.lock.Unlock()
	right, allowed := c.right.Load(), maxClockError
	if right != nil {
		allowed = maxErrorAgain
	}
	switch {
	case agree(date, began, ended, allowed) && right == nil:
		return
	case agree(date, began, ended, allowed):
		c.right.Store(nil)
	case right != nil && agree(date, right.at(began), right.at(ended), maxClockError):
		return
	default: // the middle of what it can be
		c.right.Store(&moment{machine: ended, sts: date.Add((dateResolution + ended.Sub(began)) / 2)})
	}
	if c.corrected != nil {
		c.corrected(c.Ahead())
	}
}

// agree tells whether a clock that showed these two times may be that of who wrote the date between them, but for an error.
func agree(date, began, ended time.Time, allowed time.Duration) bool {
	return !date.Add(dateResolution+allowed).Before(began) && !date.Add(-allowed).After(ended)
}
