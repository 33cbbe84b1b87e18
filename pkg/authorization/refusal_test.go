package authorization

import (
	"testing"
	"time"
)

func TestRefusal_ConfirmedByALaterReview(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	for _, test := range []struct {
		name      string
		asked     []int // seconds
		explained bool
		confirmed bool
		next      int
	}{
		{"the first review takes nothing away", []int{0}, true, false, 10},
		{"nor one too soon after it", []int{0, 9}, true, false, 10},
		{"ten seconds later it does", []int{0, 10}, true, true, 70},
		{"reviews in between do not restart the time", []int{0, 4, 8, 10}, true, true, 70},
		{"without an observed change, it does not", []int{0, 10}, false, false, 70},
		{"nor for five minutes", []int{0, 10, 70, 130, 190, 250, 299}, false, false, 300},
		{"then it does", []int{0, 10, 70, 130, 190, 250, 300}, false, true, 360},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r Refusal
			var changed time.Time
			if test.explained {
				changed = noon.Add(-time.Second)
			}
			for _, seconds := range test.asked {
				r = r.Refused("x", at(seconds), at(seconds), changed)
			}
			if r.Confirmed() != test.confirmed {
				t.Errorf("confirmed is %t", r.Confirmed())
			}
			if !r.Next().Equal(at(test.next)) {
				t.Errorf("asks again at %s, not at %s", r.Next(), at(test.next))
			}
		})
	}
	if (Refusal{}).Confirmed() {
		t.Error("no refusal is confirmed")
	}
}

func TestRefusal_Causes(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	for _, test := range []struct {
		name      string
		changed   time.Time
		confirmed time.Time
	}{
		{"a change before the first refusal", at(-30), at(10)},
		{"one that is seen after the answer", at(1), at(10)},
		{"one long before it explains nothing", at(-61), at(300)},
		{"none", time.Time{}, at(300)},
		{"one long after it explains only what comes after that", at(50), at(60)},
		{"but is no reason to wait for longer", at(299), at(300)},
	} {
		if r := (Refusal{}).Refused("x", noon, noon, test.changed); !r.confirmedAt().Equal(test.confirmed) {
			t.Errorf("%s: confirmed at %s", test.name, r.confirmedAt())
		}
	}
}

func TestRefusal_DoesNotCountForAnotherRole(t *testing.T) {
	later := noon.Add(time.Hour)
	if r := (Refusal{}).Refused("one", noon, noon, noon).Refused("two", later, later, noon); r.Confirmed() {
		t.Error("the first refusal of one role confirms that of another")
	}
}

func TestRefusal_UndecidedReviewDoesNotConfirm(t *testing.T) {
	if r := (Refusal{}).Refused("x", noon, noon, time.Time{}).Undecided(); r != (Refusal{}) {
		t.Errorf("a refusal that nothing explains goes on: %+v", r)
	}
	if r := (Refusal{}).Refused("x", noon, noon, noon).Undecided(); r == (Refusal{}) {
		t.Error("one that a change explains begins again")
	}
}

// Of two who ask, one was refused long before the other: the other's right is not taken by its
// first refusal.
func TestRefusal_BeginsWithTheLastRefusedSubject(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	r := Refusal{}.Refused("x", at(60), at(0), at(59))
	if r = r.Refused("x", at(61), at(61), at(59)); r.Confirmed() {
		t.Error("confirmed a second after the other was refused")
	}
	if r = r.Refused("x", at(70), at(65), at(59)); r.Confirmed() {
		t.Error("confirmed before both were asked again")
	}
	if r = r.Refused("x", at(70), at(70), at(59)); !r.Confirmed() {
		t.Error("not confirmed when both were refused for ten seconds")
	}
}
