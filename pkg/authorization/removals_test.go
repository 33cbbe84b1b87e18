package authorization

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// removedWithin lets all Secrets ask for their deletion as the reconciler does, and returns those
// that were deleted in order.
func removedWithin(t *testing.T, r *Removals, names []types.NamespacedName, limit time.Duration) (removed []types.NamespacedName) {
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
			if turn := r.Turn(name, now); turn.After(now) {
				r.Wait(name, now)
				next[name] = turn
			} else if r.Take(name, now) {
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

func TestRemovals_LimitedIfTimesComeInAnyOrder(t *testing.T) {
	r := NewRemovals(func() int { return 40 })
	var taken int
	for i, name := range names("a", 60) {
		now := noon.Add(time.Minute)
		if i%2 == 0 {
			now = noon
		}
		if !r.Turn(name, now).After(now) && r.Take(name, now) {
			taken++
		}
	}
	if taken > 20 {
		t.Errorf("%d Secrets were removed within one minute", taken)
	}
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
		r := NewRemovals(func() int { return test.managed })
		n := len(removedWithin(t, r, names("a", 400), time.Duration(test.minutes)*time.Minute))
		if n < test.atLeast || n > test.atMost {
			t.Errorf("of %d Secrets %d were removed within %d minutes", test.managed, n, test.minutes)
		}
	}
}

func TestRemovals_NamespacesTakeTurns(t *testing.T) {
	r := NewRemovals(func() int { return 100 })
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
	if waiting := r.Delayed(); waiting != len(all)-len(removed) {
		t.Errorf("%d wait of %d, when %d were removed", waiting, len(all), len(removed))
	}
}

func TestRemovals_LeaveEndsTheWait(t *testing.T) {
	r := NewRemovals(func() int { return 0 })
	all := names("a", 20)
	for _, name := range all[:removalsBurst] {
		if !r.Take(name, noon) {
			t.Fatal("the burst is too small")
		}
	}
	if r.Take(all[10], noon) {
		t.Fatal("there is no limit")
	}
	for _, name := range all[10:] {
		r.Wait(name, noon)
	}
	before := r.Turn(all[19], noon)
	for _, name := range all[10:19] {
		r.Leave(name)
	}
	if now := r.Turn(all[19], noon); !now.Before(before) || r.Delayed() != 1 {
		t.Errorf("its turn was at %s and is at %s; %d wait", before, now, r.Delayed())
	}
	r.Leave(all[19])
	r.Leave(all[19])
	if r.Delayed() != 0 || len(r.turns) != 0 || len(r.waiting) != 0 {
		t.Errorf("%v, %v are left", r.turns, r.waiting)
	}
}

func TestRemovals_TheLogSaysHowManyWait(t *testing.T) {
	r := NewRemovals(func() int { return 0 })
	for i, name := range names("a", 30) {
		if n := r.Wait(name, noon); n != 0 {
			t.Errorf("logged %d at number %d", n, i)
		}
	}
	name := types.NamespacedName{Namespace: "a", Name: "s000"}
	if n := r.Wait(name, noon.Add(firstRemovalsLogged)); n != 30 {
		t.Errorf("logged %d", n)
	}
	if n := r.Wait(name, noon.Add(2*firstRemovalsLogged)); n != 0 {
		t.Errorf("logged %d again at once", n)
	}
	if n := r.Wait(name, noon.Add(firstRemovalsLogged+removalsLogged)); n != 30 {
		t.Errorf("logged %d a minute later", n)
	}
}
