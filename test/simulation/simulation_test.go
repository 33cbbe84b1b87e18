package simulation

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The flags of the simulation.
var (
	seeds = flag.Int("seeds", 20, "how many seeds to simulate")
	from  = flag.Uint64("from", 1, "the first of them")
	one   = flag.String("seed", os.Getenv("SEED"), "the only seed to simulate, with its trace")
	only  = flag.String("only", "", "the only invariant that can fail the test")
	tail  = flag.Int("tail", 100, "how many lines of a failing seed's trace to show at the end")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400) // the heap is small, with much garbage
	os.Exit(m.Run())
}

// TestSeeds simulates the seeds that the flags select, as many in parallel as there are processors.
func TestSeeds(t *testing.T) {
	if *one != "" {
		seed, err := strconv.ParseUint(*one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		report(t, Run(seed, Options{Only: Invariant(*only), Trace: true}))
		return
	}
	began := time.Now()
	var next atomic.Uint64
	next.Store(*from)
	last := *from + uint64(max(0, *seeds))
	sum := totals{reached: map[string]int{}}
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= last {
					return
				}
				sum.add(Run(seed, Options{Only: Invariant(*only)}))
			}
		})
	}
	running.Wait()
	took := time.Since(began)
	fmt.Printf("%d seeds in %s: %.1f a second, %d reconciles, %s of simulated time\n", *seeds, took.Round(time.Millisecond), float64(*seeds)/took.Seconds(), sum.steps, sum.simulated.Round(time.Hour))
	sum.print()
	if len(sum.failed) == 0 {
		return
	}
	report(t, Run(sum.failed[0].Seed, Options{Only: Invariant(*only), Trace: true})) // the others in turn
	for _, v := range sum.failed[:min(20, len(sum.failed))] {
		t.Error(v)
	}
	t.Errorf("%d seeds fail", len(sum.failed))
}

// totals are the sums over all seeds.
type totals struct {
	lock      sync.Mutex
	reached   map[string]int
	failed    []Violation // the first of each seed
	steps     int
	simulated time.Duration
}

func (s *totals) add(r *Report) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for what, n := range r.Reached {
		s.reached[what] += n
	}
	if r.Failed() {
		s.failed = append(s.failed, r.Violations[0])
	}
	s.steps += r.Steps
	s.simulated += r.Simulated
}

// print prints how often invariants, faults and actions occurred.
func (s *totals) print() {
	slices.SortFunc(s.failed, func(a, b Violation) int { return cmp.Compare(a.Seed, b.Seed) })
	for _, i := range Invariants {
		fmt.Printf("  %-36s %8d times\n", i.Name, s.reached[string(i.Name)])
		delete(s.reached, string(i.Name))
	}
	for _, what := range slices.Sorted(maps.Keys(s.reached)) {
		fmt.Printf("  %-36s %8d times\n", what, s.reached[what])
	}
}

// report fails the test if a seed failed, and prints its violations and trace.
func report(t *testing.T, r *Report) {
	t.Helper()
	for _, v := range r.Violations {
		t.Errorf("%s\n%s\nreplay: SEED=%d make simulate", v, r.Trace(*tail, v.Key), r.Seed)
	}
}

// TestReplay tests that two simulations of a seed are the same.
func TestReplay(t *testing.T) {
	for seed := range uint64(6) {
		a, b := Run(seed+1000, Options{}), Run(seed+1000, Options{Trace: true})
		if a.Hash != b.Hash {
			t.Errorf("seed %d: %x, then %x", seed+1000, a.Hash, b.Hash)
		}
	}
}
