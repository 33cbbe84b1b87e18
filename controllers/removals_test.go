package controllers

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// removedWithin lets all Secrets ask for their deletion as the reconciler does, and returns those
// that were deleted in order.
func removedWithin(t *testing.T, r *removals, names []types.NamespacedName, limit time.Duration) (removed []types.NamespacedName) {
	t.Helper()
	next := map[types.NamespacedName]time.Time{}
	for _, name := range names {
		next[name] = noon
	}
	for now := noon; now.Sub(noon) <= limit; now = now.Add(time.Second) {
		for _, name := range names {
			at, waits := next[name]
			if !waits || now.Before(at) {
				continue
			}
			if turn := r.turn(name, now); turn.After(now) {
				r.wait(name, now)
				next[name] = turn
			} else if r.take(name, now) {
				removed = append(removed, name)
				delete(next, name)
			}
		}
	}
	return removed
}

func names(namespace string, n int) (all []types.NamespacedName) {
	for i := range n {
		all = append(all, types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("s%03d", i)})
	}
	return all
}

func TestRemovals_LimitedForTheWholeCluster(t *testing.T) {
	for _, test := range []struct {
		managed, minutes, atLeast, atMost int
	}{
		{40, 0, 10, 10},
		{40, 1, 19, 20},
		{40, 3, 38, 40},
		{4000, 1, 48, 50},
		{4000, 5, 200, 210},
	} {
		r := newRemovals(func() int { return test.managed })
		n := len(removedWithin(t, r, names("a", 400), time.Duration(test.minutes)*time.Minute))
		if n < test.atLeast || n > test.atMost {
			t.Errorf("of %d Secrets %d were removed within %d minutes", test.managed, n, test.minutes)
		}
	}
}

func TestRemovals_NamespacesTakeTurns(t *testing.T) {
	r := newRemovals(func() int { return 100 })
	all := append(names("greedy", 300), names("small", 3)...)
	all = append(all, names("other", 3)...)
	removed := removedWithin(t, r, all, 2*time.Minute)
	last := map[string]int{}
	for i, name := range removed {
		last[name.Namespace] = i
	}
	if len(removed) < 28 || last["small"] == 0 || last["small"] > 22 || last["other"] == 0 || last["other"] > 22 {
		t.Errorf("%d removed, the last of the others at %d and %d", len(removed), last["small"], last["other"])
	}
	if waiting := r.delayed(); waiting != len(all)-len(removed) {
		t.Errorf("%d wait of %d, when %d were removed", waiting, len(all), len(removed))
	}
}

func TestRemovals_WhatLeavesWaitsNoLonger(t *testing.T) {
	r := newRemovals(func() int { return 0 })
	all := names("a", 20)
	for _, name := range all[:removalsBurst] {
		if !r.take(name, noon) {
			t.Fatal("the burst is too small")
		}
	}
	if r.take(all[10], noon) {
		t.Fatal("there is no limit")
	}
	for _, name := range all[10:] {
		r.wait(name, noon)
	}
	before := r.turn(all[19], noon)
	for _, name := range all[10:19] {
		r.leave(name)
	}
	if now := r.turn(all[19], noon); !now.Before(before) || r.delayed() != 1 {
		t.Errorf("its turn was at %s and is at %s; %d wait", before, now, r.delayed())
	}
	r.leave(all[19])
	r.leave(all[19])
	if r.delayed() != 0 || len(r.turns) != 0 || len(r.waiting) != 0 {
		t.Errorf("%v, %v are left", r.turns, r.waiting)
	}
}

func TestRemovals_TheLogSaysHowManyWait(t *testing.T) {
	r := newRemovals(func() int { return 0 })
	for i, name := range names("a", 30) {
		if n := r.wait(name, noon); n != 0 {
			t.Errorf("logged %d at number %d", n, i)
		}
	}
	name := types.NamespacedName{Namespace: "a", Name: "s000"}
	if n := r.wait(name, noon.Add(firstRemovalsLogged)); n != 30 {
		t.Errorf("logged %d", n)
	}
	if n := r.wait(name, noon.Add(2*firstRemovalsLogged)); n != 0 {
		t.Errorf("logged %d again at once", n)
	}
	if n := r.wait(name, noon.Add(firstRemovalsLogged+removalsLogged)); n != 30 {
		t.Errorf("logged %d a minute later", n)
	}
}
