package renewal

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// writes returns when a Secret is written that is edited every second for that long, as often as
// its Pace allows.
func writesOf(edits int, life time.Duration) (at []time.Duration) {
	var p Pace
	for i := range edits {
		now := noon.Add(time.Duration(i) * time.Second)
		if p.Next(now).After(now) {
			continue
		}
		p = p.AfterWrite(now, life)
		at = append(at, now.Sub(noon))
	}
	return at
}

func TestPace_PausesGrow(t *testing.T) {
	got := writesOf(300, time.Hour)
	want := []int{0, 1, 2, 3, 5, 9, 17, 33, 65, 125, 185, 245} // seconds
	if len(got) != len(want) {
		t.Fatalf("written at %v", got)
	}
	for i := range want {
		if got[i] != time.Duration(want[i])*time.Second {
			t.Errorf("write %d comes after %s, not after %ds", i, got[i], want[i])
		}
	}
	if n := len(writesOf(60, time.Hour)); n > 10 {
		t.Errorf("60 edits cause %d writes", n)
	}
}

func TestPace_RestsAndNeverHoldsUpARenewal(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		var p Pace
		now := noon
		for range 100 { // the earliest renewals that there can be
			p = p.AfterWrite(now, life)
			now = now.Add(life / 8)
			if p.Next(now).After(now) {
				t.Fatalf("sessions of %s: a renewal waits until %s at %s", life, p.Next(now), now)
			}
		}
		for range 100 {
			p = p.AfterWrite(now, life)
		}
		if last := p.Next(now).Sub(now); last > life/16 {
			t.Errorf("sessions of %s: a pause of %s", life, last)
		}
		now = now.Add(2 * min(time.Minute, life/16))
		if p = p.rested(now); p != (Pace{}) {
			t.Errorf("sessions of %s: not rested: %+v", life, p)
		}
	}
}
