package simulation

import (
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

// seeds is how many worlds to play; one is the only one to play.
var (
	seeds = flag.Int("seeds", 20, "how many seeds to play")
	from  = flag.Uint64("from", 1, "the first of them")
	one   = flag.String("seed", os.Getenv("SEED"), "the one seed to play, with its trace")
	only  = flag.String("only", "", "the one invariant that fails the one seed")
	all   = flag.Bool("all", false, "show some of what is known not to hold yet")
	tail  = flag.Int("tail", 100, "how many lines of a failing seed's trace to show at the end")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400) // a world is small, and makes much garbage
	os.Exit(m.Run())
}

// TestSeeds plays the seeds that the flags say, as many at once as there are processors.
func TestSeeds(t *testing.T) {
	if *one != "" {
		seed, err := strconv.ParseUint(*one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		on := AllButKnown()
		if *only != "" {
			on = map[Invariant]bool{Invariant(*only): true}
		}
		report(t, Run(seed, Options{On: on, Trace: true}))
		return
	}
	began := time.Now()
	var next atomic.Uint64
	next.Store(*from)
	last := *from + uint64(*seeds)
	sum := totals{reached: map[string]int{}, known: map[Invariant][]uint64{}, shown: map[Invariant][]string{}}
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= last {
					return
				}
				sum.add(Run(seed, Options{On: AllButKnown()}))
			}
		})
	}
	running.Wait()
	took := time.Since(began)
	fmt.Printf("%d seeds in %s: %.1f a second, %d reconciles, %s of simulated time\n", *seeds, took.Round(time.Millisecond), float64(*seeds)/took.Seconds(), sum.steps, sum.simulated.Round(time.Hour))
	sum.print()
	for _, seed := range sum.failed {
		report(t, Run(seed, Options{On: AllButKnown(), Trace: true}))
		break // the others in turn
	}
	if len(sum.failed) > 0 {
		t.Errorf("%d seeds fail: %v", len(sum.failed), sum.failed[:min(20, len(sum.failed))])
	}
}

// totals are the sums over all seeds.
type totals struct {
	lock      sync.Mutex
	reached   map[string]int
	known     map[Invariant][]uint64
	shown     map[Invariant][]string
	failed    []uint64
	steps     int
	simulated time.Duration
}

func (s *totals) add(r *Report) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for what, n := range r.Reached {
		s.reached[what] += n
	}
	for _, v := range r.Known {
		if !slices.Contains(s.known[v.Invariant], r.Seed) {
			s.known[v.Invariant] = append(s.known[v.Invariant], r.Seed)
			s.shown[v.Invariant] = append(s.shown[v.Invariant], v.String())
		}
	}
	if r.Failed() {
		s.failed = append(s.failed, r.Seed)
	}
	s.steps += r.Steps
	s.simulated += r.Simulated
}

// print says what was reached.
func (s *totals) print() {
	slices.Sort(s.failed)
	for _, i := range Invariants {
		fmt.Printf("  %-36s %8d times", i.Name, s.reached[string(i.Name)])
		if broken := s.known[i.Name]; len(broken) > 0 {
			slices.Sort(broken)
			fmt.Printf(", does not hold yet in %d seeds: %v", len(broken), broken[:min(5, len(broken))])
		}
		fmt.Println()
		if *all {
			slices.Sort(s.shown[i.Name])
			for _, line := range s.shown[i.Name][:min(4, len(s.shown[i.Name]))] {
				fmt.Printf("      %s\n", line)
			}
		}
		delete(s.reached, string(i.Name))
	}
	for _, what := range slices.Sorted(maps.Keys(s.reached)) {
		fmt.Printf("  %-36s %8d times\n", what, s.reached[what])
	}
}

// report fails the test if a seed failed, with all that it takes to see why.
func report(t *testing.T, r *Report) {
	t.Helper()
	for _, v := range r.Violations {
		t.Errorf("%s\n%s\nreplay: SEED=%d make simulate", v, r.Trace(*tail, v.Key), r.Seed)
	}
}

// TestReplay requires that a seed plays the same way twice.
func TestReplay(t *testing.T) {
	for seed := range uint64(6) {
		a, b := Run(seed+1000, Options{}), Run(seed+1000, Options{Trace: true})
		if a.Hash != b.Hash {
			t.Errorf("seed %d: %x, then %x", seed+1000, a.Hash, b.Hash)
		}
	}
}
