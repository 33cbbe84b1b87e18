package controllers

import (
	"testing"
	"time"
)

func TestRefusal_ConfirmedByALaterLook(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	for _, test := range []struct {
		name      string
		asked     []int // seconds
		explained bool
		confirmed bool
		next      int
	}{
		{"the first look takes nothing away", []int{0}, true, false, 10},
		{"nor one too soon after it", []int{0, 9}, true, false, 10},
		{"ten seconds later it does", []int{0, 10}, true, true, 70},
		{"looks in between do not restart the time", []int{0, 4, 8, 10}, true, true, 70},
		{"without a change that was seen, it does not", []int{0, 10}, false, false, 70},
		{"nor for five minutes", []int{0, 10, 70, 130, 190, 250, 299}, false, false, 300},
		{"then it does", []int{0, 10, 70, 130, 190, 250, 300}, false, true, 360},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r refusal
			for _, seconds := range test.asked {
				r = r.refused(at(seconds), at(seconds), test.explained)
			}
			if r.confirmed() != test.confirmed {
				t.Errorf("confirmed is %t", r.confirmed())
			}
			if !r.next().Equal(at(test.next)) {
				t.Errorf("asks again at %s, not at %s", r.next(), at(test.next))
			}
		})
	}
	if (refusal{}).confirmed() {
		t.Error("no refusal is confirmed")
	}
}

// A change that is seen after the first refusal explains it, too: the watch may be later than the
// answer.
func TestRefusal_ExplainedLater(t *testing.T) {
	later := noon.Add(time.Second)
	r := refusal{}.refused(noon, noon, false).refused(later, later, true)
	if !r.confirmedAt().Equal(noon.Add(confirmation)) {
		t.Errorf("confirmed at %s", r.confirmedAt())
	}
}

// Of two who ask, one was refused long before the other: the other's right is not taken by its first refusal.
func TestRefusal_BeginsWithTheLastWhoIsRefused(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	r := refusal{}.refused(at(60), at(0), true)
	if r = r.refused(at(61), at(61), true); r.confirmed() {
		t.Error("confirmed a second after the other was refused")
	}
	if r = r.refused(at(70), at(65), true); r.confirmed() {
		t.Error("confirmed before both were asked again")
	}
	if r = r.refused(at(70), at(70), true); !r.confirmed() {
		t.Error("not confirmed when both were refused for ten seconds")
	}
}
