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
	elapsed   func() time.Duration
	corrected func(ahead time.Duration) // may be nil
	lock      sync.Mutex                // of who corrects
	right     atomic.Pointer[moment]    // nil as long as the machine's clock is right
	heard     atomic.Pointer[reading]   // when the call began that STS answered last; nil if there was none
}

// reading is what the two clocks of a machine show at one moment: the one that tells the time, and the monotonic one, which nobody sets.
type reading struct {
	wall    time.Time
	elapsed time.Duration
}

// moment is one moment by the machine's monotonic clock and by the clock of STS.
type moment struct {
	elapsed time.Duration
	sts     time.Time
}

// at is what the clock of STS shows when the machine's do this.
func (m *moment) at(r reading) time.Time { return m.sts.Add(r.elapsed - m.elapsed) }

// newClock makes the Clock of a client.
func newClock(o *Options) *Clock {
	c := &Clock{machine: o.Now, elapsed: o.Elapsed, corrected: o.ClockCorrected}
	if c.elapsed == nil {
		start := o.Now()
		c.elapsed = func() time.Duration { return o.Now().Sub(start) } // by Go's monotonic reading, where there is one
	}
	return c
}

func (c *Clock) read() reading { return reading{wall: c.machine().Round(0), elapsed: c.elapsed()} }

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
	if right := c.right.Load(); right != nil {
		return right.at(c.read())
	}
	return c.machine()
}

// Since is the time that has passed since then.
func (c *Clock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// Ahead is by how much the machine's clock is ahead of that of STS; it is negative if the machine's is behind, and zero if it is believed.
func (c *Clock) Ahead() time.Duration {
	right := c.right.Load()
	if right == nil {
		return 0
	}
	now := c.read()
	return now.wall.Sub(right.at(now))
}

// stepped tells whether somebody has set the machine's clock since STS was heard last, or the machine stood still, so that the one that is monotonic did, too.
func (c *Clock) stepped() bool {
	heard, now := c.heard.Load(), c.read()
	return heard != nil && (now.wall.Sub(heard.wall)-(now.elapsed-heard.elapsed)).Abs() > maxClockError
}

// Sure is false from when somebody has set the machine's clock until STS is heard again: what this one tells may then be wrong by any amount. As long as STS
// was never heard, the machine's clock is believed, as mostly it is right.
func (c *Clock) Sure() bool { return !c.stepped() }

// hear takes in the Date of an answer of STS, and when by the machine's clocks the call began and its answer was there. Of the time between these, however
// long it was, nothing is known but that STS read its clock within it.
func (c *Clock) hear(date time.Time, began, ended reading) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.heard.Store(&began) // not when it ended: somebody may have set the clock in between
	right, allowed := c.right.Load(), maxClockError
	if right != nil {
		allowed = maxErrorAgain
	}
	switch {
	case agree(date, began.wall, ended.wall, allowed) && right == nil:
		return
	case agree(date, began.wall, ended.wall, allowed):
		c.right.Store(nil)
	case right != nil && agree(date, right.at(began), right.at(ended), maxClockError):
		return
	default: // the middle of what it can be
		c.right.Store(&moment{elapsed: ended.elapsed, sts: date.Add((dateResolution + ended.elapsed - began.elapsed) / 2)})
	}
	if c.corrected != nil {
		c.corrected(c.Ahead())
	}
}

// agree tells whether a clock that showed these two times may be that of who wrote the date between them, but for an error.
func agree(date, began, ended time.Time, allowed time.Duration) bool {
	return !date.Add(dateResolution+allowed).Before(began) && !date.Add(-allowed).After(ended)
}
