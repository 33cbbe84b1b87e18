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
			var changed time.Time
			if test.explained {
				changed = noon.Add(-time.Second)
			}
			for _, seconds := range test.asked {
				r = r.refused("x", at(seconds), at(seconds), changed)
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
		if r := (refusal{}).refused("x", noon, noon, test.changed); !r.confirmedAt().Equal(test.confirmed) {
			t.Errorf("%s: confirmed at %s", test.name, r.confirmedAt())
		}
	}
}

func TestRefusal_SaysNothingOfAnotherRole(t *testing.T) {
	later := noon.Add(time.Hour)
	if r := (refusal{}).refused("one", noon, noon, noon).refused("two", later, later, noon); r.confirmed() {
		t.Error("the first refusal of one role confirms that of another")
	}
}

func TestRefusal_NotKnowingIsNoRepetition(t *testing.T) {
	if r := (refusal{}).refused("x", noon, noon, time.Time{}).unknown(); r != (refusal{}) {
		t.Errorf("a refusal that nothing explains goes on: %+v", r)
	}
	if r := (refusal{}).refused("x", noon, noon, noon).unknown(); r == (refusal{}) {
		t.Error("one that a change explains begins anew")
	}
}

// Of two who ask, one was refused long before the other: the other's right is not taken by its
// first refusal.
func TestRefusal_BeginsWithTheLastWhoIsRefused(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	r := refusal{}.refused("x", at(60), at(0), at(59))
	if r = r.refused("x", at(61), at(61), at(59)); r.confirmed() {
		t.Error("confirmed a second after the other was refused")
	}
	if r = r.refused("x", at(70), at(65), at(59)); r.confirmed() {
		t.Error("confirmed before both were asked again")
	}
	if r = r.refused("x", at(70), at(70), at(59)); !r.confirmed() {
		t.Error("not confirmed when both were refused for ten seconds")
	}
}
