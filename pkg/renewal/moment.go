package renewal

import "time"

// Clocks are the two clocks of the controller, see Moment.
type Clocks struct {
	// STS is the one by which credentials expire, and Trusted reports whether it is known.
	STS     func() time.Time
	Trusted func() bool
	// Local is the machine's monotonic one.
	Local func() time.Time
}

// Now is one look at both clocks.
func (c Clocks) Now() Moment { return Moment{STS: c.STS(), Local: c.Local(), Trusted: c.Trusted()} }

// Moment is one reading of two clocks. Credentials expire by STS's clock, which is corrected by the
// times in STS's answers. All other durations are measured by the local monotonic clock, which is
// never corrected.
type Moment struct {
	STS, Local time.Time
	// Trusted is false if the field STS can be wrong by any amount, as the machine's clock was set
	// after STS's last answer.
	Trusted bool
}

// ToSTSTime returns what STS's clock shows when the local one shows a time; zero for none.
func (m Moment) ToSTSTime(local time.Time) time.Time {
	if local.IsZero() {
		return time.Time{}
	}
	return m.STS.Add(local.Sub(m.Local))
}

// RequeueAfter returns the delay from m until a time of STS's clock that was found by an earlier
// look, or 0 if the clock was corrected in between: it went back, or by more than longest, which
// no reconcile takes.
func (m Moment) RequeueAfter(at time.Time, before Moment, longest time.Duration) time.Duration {
	if took := m.STS.Sub(before.STS); took < 0 || took > longest {
		return 0
	}
	return at.Sub(m.STS)
}

// Earlier returns the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
