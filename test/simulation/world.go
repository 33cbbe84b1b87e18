// Package simulation plays days of a cluster's life against the real reconciler, under a clock of
// its own: tenants, faults and restarts that a seed generates. After every step it checks what
// must always hold.
//
// One goroutine drives everything: there is no manager, no informer and no timer. A reconcile
// runs as a coroutine that gives way wherever it would wait for an answer, so that others, and
// the cluster itself, go on meanwhile, in an order that the seed alone decides. A seed replays
// exactly.
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

// epoch is when every world begins.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// World is one cluster, with an AWS account and the controllers that serve it.
type World struct {
	seed uint64
	cfg  config
	// now is the time that has passed since epoch, by a clock that is always right.
	now    time.Duration
	events eventHeap
	added  int
	// chance makes the tenants' choices. What can be asked in another order by an equally good
	// controller takes dice instead.
	chance *rand.Rand
	rolls  map[string]uint64

	api       *api
	rbac      *rbac
	sts       *sts
	pods      *pods
	faults    *faults
	told      *told
	instances []*instance
	started   int
	// current is the reconcile that runs, if one does; killing is the instance that is being
	// killed, while its reconciles come to their ends.
	current *task
	killing *instance

	// tampered is when somebody else changed a Secret last, roleTouched when an AWSIAMRole of its
	// name, and nsDeleted when a namespace was deleted.
	tampered, roleTouched map[key]time.Duration
	nsDeleted             map[string]time.Duration
	healed                bool
	contest               *contest

	*Report
	trace *trace
}

// at runs a function at a time; what is due at the same time runs in the order in which it was
// added.
func (w *World) at(when time.Duration, do func()) {
	w.added++
	heap.Push(&w.events, &happening{at: max(when, w.now), order: w.added, do: do})
}

// after runs a function some time later.
func (w *World) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// every runs a function at intervals, until it returns false.
func (w *World) every(d time.Duration, do func() bool) {
	w.after(d, func() {
		if do() {
			w.every(d, do)
		}
	})
}

// time is the right time.
func (w *World) time() time.Time { return epoch.Add(w.now) }

// run lets time pass until then. Events come before reconciles that are due at the same time.
func (w *World) run(until time.Duration) {
	for !w.Failed() {
		inst, due := w.nextReconcile()
		if len(w.events) > 0 && (inst == nil || w.events[0].at <= due) {
			if w.events[0].at > until {
				break
			}
			e, _ := heap.Pop(&w.events).(*happening)
			w.now = max(w.now, e.at)
			e.do()
			continue
		}
		if inst == nil || due > until {
			break
		}
		w.now = max(w.now, due)
		inst.begin()
	}
	w.now = max(w.now, until)
}

// nextReconcile is the instance that has work to do next, and when.
func (w *World) nextReconcile() (next *instance, due time.Duration) {
	for _, inst := range w.instances {
		if at, ok := inst.nextDue(); ok && (next == nil || at < due) {
			next, due = inst, max(at, w.now)
		}
	}
	return next, due
}

// wait lets time pass for the reconcile that runs now, while the world goes on. It reports
// whether its process is still alive after that; nothing that a dead one does has any effect.
func (w *World) wait(d time.Duration) bool {
	t := w.current
	if t == nil {
		return w.killing == nil
	}
	alive := t.yield(d) && t.inst.alive
	if alive && t != w.current {
		panic("a reconcile goes on while another runs")
	}
	return alive
}

// roll returns a number from 0 up to 1 that depends on the seed, on what it is for and on how
// often that was asked. So it does not matter in which order the product asks about different
// things.
func (w *World) roll(what string) float64 {
	w.rolls[what]++
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", w.seed, what, w.rolls[what])
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads the bits of a hash. Source: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between is a time from low to high, by a roll.
func (w *World) between(what string, low, high time.Duration) time.Duration {
	return low + time.Duration(w.roll(what)*float64(high-low))
}

// happening is something that happens at a time.
type happening struct {
	at    time.Duration
	order int
	do    func()
}

// eventHeap is a container/heap of what is to happen.
type eventHeap []*happening

// Len implements heap.Interface.
func (h eventHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

// Swap implements heap.Interface.
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) {
	e, _ := x.(*happening)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
