//go:build e2e && linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// fault is something that happens while every SDK calls STS.
type fault struct {
	name string
	// needs says for what it needs the local node, "" if any cluster does.
	needs string
	// run makes it happen, and returns what happened.
	run func(f *fleet, tb testing.TB) (note string)
}

// faults happen in this order.
var faults = []fault{
	{"API server away", "it kills the API server", (*fleet).apiServerAway}, // first, as its sessions last longer, into the next row
	{"controller killed", "it kills processes", (*fleet).controllerKilled},
	{"leader partitioned", "it filters packets", (*fleet).leaderPartitioned},
	{"API server restarted", "it kills the API server", (*fleet).apiServerRestarted},
	{"watches reset", "it filters packets", (*fleet).watchesReset},
	{"STS down", "", (*fleet).stsDown},
	{"STS hangs", "", (*fleet).stsHangs},
	{"STS slow", "", (*fleet).stsSlow},
	{"STS throttles", "", (*fleet).stsThrottles},
	{"clock ahead", "its image has a clock that can be wrong", (*fleet).clockAhead},
	{"clock behind", "its image has a clock that can be wrong", (*fleet).clockBehind},
	{"burst", "", (*fleet).burst},
	{"edited by hand", "", (*fleet).editedByHand},
	{"rotations", "", (*fleet).rotations}, // last, as the rotations before count
}

// TestSDKsKeepCalling runs a pod for each SDK, which calls STS every second on short sessions, with
// nothing but the documented environment. Not one call can fail, whatever happens meanwhile. The
// faults are one after the other on the same pods, each a subtest; after one has failed no other
// runs.
func TestSDKsKeepCalling(t *testing.T) {
	f := &fleet{}
	matched := false
	for i := range faults {
		if !t.Run(faults[i].name, func(t *testing.T) {
			matched = true
			f.try(t, &faults[i])
		}) {
			break
		}
	}
	if !matched {
		t.Fatal("no fault has this name")
	}
	f.finish(t)
}

// try lets a fault happen.
func (f *fleet) try(t *testing.T, happens *fault) {
	t.Helper()
	f.testEnv = startEnv(t)
	if happens.needs != "" {
		f.node = f.localNode(t, happens.needs)
	}
	f.start(t)
	// What is seen next has to come from this fault only.
	f.awaitFresh(t, f.Session)
	f.beginRow(happens.name)
	row := &f.rows[len(f.rows)-1]
	row.note = happens.run(f, t)
	t.Logf("%.0f s. %s", time.Since(row.began).Seconds(), row.note)
}

// rotationCount is how often each SDK has to take up new keys.
const rotationCount = 5

// rotations lets every SDK take up new keys some times.
func (f *fleet) rotations(tb testing.TB) (note string) {
	tb.Helper()
	least := func() int {
		return len(slices.MinFunc(f.callers, func(a, b *caller) int { return len(a.lags) - len(b.lags) }).lags)
	}
	f.await(tb, fmt.Sprintf("every SDK has taken up new keys %d times", rotationCount), func() (bool, error) {
		return least() >= rotationCount, nil
	})
	return fmt.Sprintf("nothing; every SDK has taken up new keys %d times or more since its start", least())
}
