package simulation

import "time"

// hostClock simulates the clocks of the host that an instance runs on: a wall clock, which can be
// set, and a monotonic one.
type hostClock struct {
	sim *simulator
	// ahead is the error of the wall clock.
	ahead time.Duration
	// aheadAtSTS is the value of ahead at the last response of STS. corrected is true if that
	// response showed that the wall clock is wrong.
	aheadAtSTS time.Duration
	corrected  bool
}

// monotonicClock is the host's monotonic clock.
type monotonicClock struct{ *hostClock }

// Now implements clock.PassiveClock.
func (m monotonicClock) Now() time.Time { return m.sim.time() }

// Since implements clock.PassiveClock.
func (m monotonicClock) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// stsClock is the time of STS as far as the host knows it: a model of credentials.Clock.
type stsClock struct{ *hostClock }

// maxClockError and maxErrorAgain are those of package credentials.
const (
	maxClockError = 5 * time.Second
	maxErrorAgain = 2 * time.Second
)

// Now implements clock.PassiveClock.
func (c stsClock) Now() time.Time {
	if c.corrected {
		return c.sim.time()
	}
	return c.sim.time().Add(c.ahead)
}

// Since implements clock.PassiveClock.
func (c stsClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// trusted reports whether the wall clock was not set since the last response of STS.
func (m *hostClock) trusted() bool { return (m.ahead - m.aheadAtSTS).Abs() <= maxClockError }

// observeSTS compares the wall clock with a response of STS.
func (m *hostClock) observeSTS() {
	allowed := maxClockError
	if m.corrected {
		allowed = maxErrorAgain
	}
	m.aheadAtSTS, m.corrected = m.ahead, m.ahead.Abs() > allowed
}
