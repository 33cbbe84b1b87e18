package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

// What was decided while the clock was corrected, there or back, is looked at again at once, and not by that much later.
func TestUntilAcrossACorrection(t *testing.T) {
	at := noon.Add(time.Hour)
	for _, c := range []struct {
		says string
		now  time.Time
		want time.Duration
	}{
		{"at once", noon, time.Hour},
		{"a minute later", noon.Add(time.Minute), 59 * time.Minute},
		{"set back", noon.Add(-7 * time.Minute), 0},
		{"set ahead", noon.Add(7 * time.Minute), 0},
	} {
		r := &reconciler{clock: clocktesting.NewFakePassiveClock(c.now)}
		if got := r.until(at, noon); got != c.want {
			t.Errorf("%s: in %s, want %s", c.says, got, c.want)
		}
	}
}

// How long ago a pod went is not changed by a correction of the clock, there or back.
func TestAMomentAcrossACorrection(t *testing.T) {
	for _, ahead := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		r := &reconciler{machine: clocktesting.NewFakePassiveClock(noon), clock: clocktesting.NewFakePassiveClock(noon.Add(-ahead))}
		if got := r.clock.Since(r.bySTS(noon.Add(-4 * time.Minute))); got != 4*time.Minute {
			t.Errorf("ahead by %s, four minutes are %s", ahead, got)
		}
	}
}

// A failure that was noted by a clock that was ahead does not hold the next attempt back until that time has come.
func TestAFailureOfAnotherClock(t *testing.T) {
	name := types.NamespacedName{Namespace: "payments", Name: "aws-iam-app"}
	var k record
	for range 20 {
		k.failure = afterFailure(name, k.failure, noon, 0, failure{reason: ReasonGetCredentialsFailed})
		if k.lastFailure(noon) == nil {
			t.Fatalf("one that is tried again at %s is dropped", k.failure.until)
		}
		if k.lastFailure(noon.Add(-7*time.Minute)) != nil {
			t.Fatalf("one that is tried again at %s holds at %s", k.failure.until, noon.Add(-7*time.Minute))
		}
	}
}
