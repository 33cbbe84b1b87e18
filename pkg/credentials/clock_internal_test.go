package credentials

import (
	"math/rand/v2"
	"testing"
	"time"
)

// answer makes a Clock observe one call, with a local clock that is ahead. By STS's clock, the call
// begins at began, STS reads its clock after until, and the answer arrives after another after.
func (c *Clock) answer(ahead time.Duration, began time.Time, until, after time.Duration) {
	date := began.Add(until).Truncate(dateResolution)
	ended := began.Add(until + after)
	c.observe(date, reading{began.Add(ahead), began.Sub(noon)}, reading{ended.Add(ahead), ended.Sub(noon)})
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clockAt returns a Clock whose local clock is ahead of the given clock of STS.
func clockAt(sts *time.Time, ahead time.Duration, corrected func(time.Duration)) *Clock {
	return newClock(&Options{
		Now:            func() time.Time { return sts.Add(ahead) },
		Elapsed:        func() time.Duration { return sts.Sub(noon) },
		ClockCorrected: corrected,
	})
}

// random returns a duration from 0 up to limit.
func random(limit time.Duration) time.Duration { return rand.N(limit) } //nolint:gosec // no secret

func TestClock_CorrectClockIsNeverCorrected(t *testing.T) {
	now := noon
	c := clockAt(&now, 0, func(ahead time.Duration) { t.Fatalf("it was off by %s", ahead) })
	for range 100_000 {
		now = now.Add(random(time.Minute))
		ahead := random(2*maxClockError) - maxClockError
		c.answer(ahead, now, random(time.Minute), random(time.Minute)) // a process can be stopped for that long
	}
	if !c.Now().Equal(now) || c.Offset() != 0 {
		t.Errorf("it is %s, at %s", c.Now(), now)
	}
}

func TestClock_WrongClockIsCorrectedOnce(t *testing.T) {
	for range 1000 {
		sts := noon.Add(random(time.Second))
		ahead := maxClockError + 2*time.Second + random(time.Hour) // the answers below take less than a second
		if random(2) == 0 {
			ahead = -ahead
		}
		corrections := 0
		c := clockAt(&sts, ahead, func(time.Duration) { corrections++ })
		for range 100 {
			c.answer(ahead, sts, random(time.Second/2), random(time.Second/2))
			if off := c.Now().Sub(sts); off.Abs() > maxClockError/2 {
				t.Fatalf("ahead by %s, it is still off by %s", ahead, off)
			}
			sts = sts.Add(random(time.Hour))
		}
		if corrections != 1 {
			t.Fatalf("ahead by %s, it was corrected %d times", ahead, corrections)
		}
	}
}

// A clock that is set between a call and its answer can seem right by that answer, and is checked
// again.
func TestClock_SetDuringACall(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		sts := noon
		c := clockAt(&sts, ahead, nil)
		c.observe(noon, reading{noon, 0}, reading{noon.Add(ahead), 0})
		if !c.localClockStepped() {
			t.Errorf("nothing is wrong with a clock that is ahead by %s", ahead)
		}
		if c.answer(ahead, noon, 0, 0); c.localClockStepped() || c.Offset() == 0 {
			t.Errorf("ahead by %s, it is not corrected by the next answer", ahead)
		}
	}
}

// A clock at the limit is not corrected back and forth with every answer.
func TestClock_AtTheLimitIsCorrectedOnce(t *testing.T) {
	for ahead := -8 * time.Second; ahead <= 8*time.Second; ahead += 100 * time.Millisecond {
		sts := noon
		corrections := 0
		c := clockAt(&sts, ahead, func(time.Duration) { corrections++ })
		for range 1000 {
			c.answer(ahead, sts, random(time.Second/2), random(time.Second/2))
			sts = sts.Add(random(time.Minute))
		}
		if corrections > 1 {
			t.Errorf("ahead by %s, it was corrected %d times", ahead, corrections)
		}
	}
}
