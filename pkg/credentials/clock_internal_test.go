package credentials

import (
	"math/rand/v2"
	"testing"
	"time"
)

// answer lets a Clock hear of one call: of a machine whose clock is ahead, at a time by STS's clock, for which STS read its clock some time after it began.
func (c *Clock) answer(ahead time.Duration, began time.Time, until, after time.Duration) {
	date := began.Add(until).Truncate(dateResolution)
	ended := began.Add(until + after)
	c.hear(date, reading{began.Add(ahead), began.Sub(noon)}, reading{ended.Add(ahead), ended.Sub(noon)})
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clockAt is the Clock of a machine whose clock is ahead of that of STS, which is given.
func clockAt(sts *time.Time, ahead time.Duration, corrected func(time.Duration)) *Clock {
	return newClock(&Options{
		Now:            func() time.Time { return sts.Add(ahead) },
		Elapsed:        func() time.Duration { return sts.Sub(noon) },
		ClockCorrected: corrected,
	})
}

// random is a duration from 0 up to some limit.
func random(limit time.Duration) time.Duration { return rand.N(limit) } //nolint:gosec // no secret

func TestARightClockIsNeverTouched(t *testing.T) {
	now := noon
	c := clockAt(&now, 0, func(ahead time.Duration) { t.Fatalf("it was off by %s", ahead) })
	for range 100_000 {
		now = now.Add(random(time.Minute))
		ahead := random(2*maxClockError) - maxClockError
		c.answer(ahead, now, random(time.Minute), random(time.Minute)) // a process may also be stopped for that long
	}
	if !c.Now().Equal(now) || c.Ahead() != 0 {
		t.Errorf("it is %s, at %s", c.Now(), now)
	}
}

func TestAWrongClockIsCorrectedOnce(t *testing.T) {
	for range 1000 {
		sts := noon.Add(random(time.Second))
		ahead := maxClockError + 2*time.Second + random(time.Hour) // the answers below take less than a second
		if random(2) == 0 {
			ahead = -ahead
		}
		told := 0
		c := clockAt(&sts, ahead, func(time.Duration) { told++ })
		for range 100 {
			c.answer(ahead, sts, random(time.Second/2), random(time.Second/2))
			if off := c.Now().Sub(sts); off.Abs() > maxClockError/2 {
				t.Fatalf("ahead by %s, it is still off by %s", ahead, off)
			}
			sts = sts.Add(random(time.Hour))
		}
		if told != 1 {
			t.Fatalf("ahead by %s, it was corrected %d times", ahead, told)
		}
	}
}

// A clock that is set between a call and its answer may seem right by that one, and is looked at again.
func TestAClockThatIsSetDuringACall(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		sts := noon
		c := clockAt(&sts, ahead, nil)
		c.hear(noon, reading{noon, 0}, reading{noon.Add(ahead), 0})
		if !c.stepped() {
			t.Errorf("nothing is wrong with a clock that is ahead by %s", ahead)
		}
		if c.answer(ahead, noon, 0, 0); c.stepped() || c.Ahead() == 0 {
			t.Errorf("ahead by %s, it is not corrected by the next answer", ahead)
		}
	}
}

// A clock at the limit is not corrected there and back with every answer.
func TestAClockAtTheLimit(t *testing.T) {
	for ahead := -8 * time.Second; ahead <= 8*time.Second; ahead += 100 * time.Millisecond {
		sts := noon
		told := 0
		c := clockAt(&sts, ahead, func(time.Duration) { told++ })
		for range 1000 {
			c.answer(ahead, sts, random(time.Second/2), random(time.Second/2))
			sts = sts.Add(random(time.Minute))
		}
		if told > 1 {
			t.Errorf("ahead by %s, it was corrected %d times", ahead, told)
		}
	}
}
