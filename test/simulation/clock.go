package simulation

import "time"

// machine is the machine that an instance runs on: one clock that somebody may set, and one that
// nobody can.
type machine struct {
	w *World
	// ahead is by how much the clock that can be set is wrong.
	ahead time.Duration
	// heard is what ahead was when STS answered last, and corrected is true if that showed that
	// the clock is wrong.
	heard     time.Duration
	corrected bool
}

// monotonic is the machine's clock as time that has passed is measured by it.
type monotonic struct{ *machine }

// Now implements clock.PassiveClock.
func (m monotonic) Now() time.Time { return m.w.time() }

// Since implements clock.PassiveClock.
func (m monotonic) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// corrected is the clock of STS as far as the machine knows it; a model of credentials.Clock.
type corrected struct{ *machine }

// maxClockError and maxErrorAgain are those of package credentials.
const (
	maxClockError = 5 * time.Second
	maxErrorAgain = 2 * time.Second
)

// Now implements clock.PassiveClock.
func (c corrected) Now() time.Time {
	if c.corrected {
		return c.w.time()
	}
	return c.w.time().Add(c.ahead)
}

// Since implements clock.PassiveClock.
func (c corrected) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// sure reports whether the clock was not set since STS was heard.
func (m *machine) sure() bool { return (m.ahead - m.heard).Abs() <= maxClockError }

// hear takes in an answer of STS.
func (m *machine) hear() {
	allowed := maxClockError
	if m.corrected {
		allowed = maxErrorAgain
	}
	m.heard, m.corrected = m.ahead, m.ahead.Abs() > allowed
}
