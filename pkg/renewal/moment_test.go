package renewal

import (
	"testing"
	"time"
)

// What was decided while the clock was corrected, in either direction, is reconciled again at once.
func TestMoment_RequeueAfterACorrection(t *testing.T) {
	at := noon.Add(time.Hour)
	for _, test := range []struct {
		name string
		now  time.Time
		want time.Duration
	}{
		{"at once", noon, time.Hour},
		{"a minute later", noon.Add(time.Minute), 59 * time.Minute},
		{"set back", noon.Add(-7 * time.Minute), 0},
		{"set ahead", noon.Add(7 * time.Minute), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := (Moment{STS: test.now}).RequeueAfter(at, Moment{STS: noon}, 5*time.Minute); got != test.want {
				t.Errorf("after %s, not after %s", got, test.want)
			}
		})
	}
}

// How long ago a pod was deleted does not change by a correction of the clock.
func TestMoment_ToSTSTime(t *testing.T) {
	for _, ahead := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		m := Moment{STS: noon.Add(-ahead), Local: noon}
		if got := m.STS.Sub(m.ToSTSTime(noon.Add(-4 * time.Minute))); got != 4*time.Minute {
			t.Errorf("ahead by %s, four minutes are %s", ahead, got)
		}
		if !m.ToSTSTime(time.Time{}).IsZero() {
			t.Error("no time became one")
		}
	}
}
