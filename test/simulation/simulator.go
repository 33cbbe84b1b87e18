// Package simulation tests the real reconciler in a simulated cluster with a simulated clock. A
// seed generates days of actions of tenants, faults and restarts, and invariants are checked after
// every step.
//
// One goroutine runs everything, without a manager, informers or real timers. A reconcile is a
// coroutine that yields wherever it would wait for a response, so that other reconciles and the
// cluster continue meanwhile. The seed alone determines their order, so a seed replays exactly.
package simulation

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// key is the namespace and name of a Secret, an AWSIAMRole or a pod.
type key = types.NamespacedName

// epoch is the time at which every simulation begins.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// simulator simulates one cluster, with an AWS account and the controllers that serve it.
type simulator struct {
	seed uint64
	cfg  config
	// now is the time that has passed since epoch, by a clock that is always right.
	now    time.Duration
	events timerHeap
	added  int
	// chance makes the choices of tenants. For choices whose order depends on the controller, use
	// roll.
	chance *rand.Rand
	rolls  map[string]uint64

	api       *api
	rbac      *rbac
	sts       *sts
	pods      *pods
	accounts  *accounts
	faults    *faults
	eventLog  *eventLog
	instances []*instance
	started   int
	// current is the reconcile that runs, if one does; killing is the instance that is being
	// killed, while its reconciles end.
	current *task
	killing *instance

	// editedAt is the time of the last change of a Secret by another writer, roleChangedAt of a
	// change of the AWSIAMRole of that name, accountChangedAt of one of the ServiceAccount whose
	// Secret it is, and namespaceDeletedAt of a namespace's deletion.
	editedAt, roleChangedAt, accountChangedAt map[key]time.Duration
	namespaceDeletedAt                        map[string]time.Duration
	healed                                    bool
	revertingWriter                           *revertingWriter

	*Report
	trace *trace
}

// at runs a function at a time; what is due at the same time runs in the order in which it was
// added.
func (sim *simulator) at(when time.Duration, do func()) {
	sim.added++
	heap.Push(&sim.events, &timer{at: max(when, sim.now), order: sim.added, do: do})
}

// after runs a function some time later.
func (sim *simulator) after(d time.Duration, do func()) { sim.at(sim.now+d, do) }

// every runs a function at intervals, until it returns false.
func (sim *simulator) every(d time.Duration, do func() bool) {
	sim.after(d, func() {
		if do() {
			sim.every(d, do)
		}
	})
}

// time returns the correct time.
func (sim *simulator) time() time.Time { return epoch.Add(sim.now) }

// run simulates until that time. Timers come before reconciles that are due at the same time.
func (sim *simulator) run(until time.Duration) {
	for !sim.Failed() {
		inst, due := sim.nextReconcile()
		if len(sim.events) > 0 && (inst == nil || sim.events[0].at <= due) {
			if sim.events[0].at > until {
				break
			}
			e, _ := heap.Pop(&sim.events).(*timer)
			sim.now = max(sim.now, e.at)
			e.do()
			continue
		}
		if inst == nil || due > until {
			break
		}
		sim.now = max(sim.now, due)
		inst.begin()
	}
	sim.now = max(sim.now, until)
}

// nextReconcile returns the instance with the next reconcile, and when it is due.
func (sim *simulator) nextReconcile() (next *instance, due time.Duration) {
	for _, inst := range sim.instances {
		if at, ok := inst.nextDue(); ok && (next == nil || at < due) {
			next, due = inst, max(at, sim.now)
		}
	}
	return next, due
}

// wait suspends the current reconcile for a time. It reports whether its process is still alive
// after that; nothing that a dead process does has any effect.
func (sim *simulator) wait(d time.Duration) bool {
	t := sim.current
	if t == nil {
		return sim.killing == nil
	}
	alive := t.yield(d) && t.inst.alive
	if alive && t != sim.current {
		panic("a reconcile goes on while another runs")
	}
	return alive
}

// roll returns a number in [0, 1) that depends on the seed, on what it is for and on how often roll
// was called for that. So the order in which the controller does different things does not matter.
func (sim *simulator) roll(what string) float64 {
	sim.rolls[what]++
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", sim.seed, what, sim.rolls[what])
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads the bits of a hash. Source: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between returns a duration from low to high, by a roll.
func (sim *simulator) between(what string, low, high time.Duration) time.Duration {
	return low + time.Duration(sim.roll(what)*float64(high-low))
}

// timer is a function that runs at a time.
type timer struct {
	at    time.Duration
	order int
	do    func()
}

// timerHeap is a container/heap of timers.
type timerHeap []*timer

// Len implements heap.Interface.
func (h timerHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h timerHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

// Swap implements heap.Interface.
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	e, _ := x.(*timer)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
