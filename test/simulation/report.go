package simulation

import (
	"fmt"
	"time"
)

// Report is the result of one seed.
type Report struct {
	Seed uint64
	// Reached counts how often each invariant was checked, and each fault and action occurred.
	Reached map[string]int
	// Violations are the violations of invariants.
	Violations []Violation
	// Hash is the same for two runs of a seed.
	Hash uint64
	// Steps counts reconciles, and Simulated is how much time passed.
	Steps     int
	Simulated time.Duration
	// Trace is what happened, if it was kept.
	Trace func(lines int, about string) string
	// only is the only invariant to check; if it is empty, all are.
	only Invariant
}

// Violation is a violation of an invariant.
type Violation struct {
	Seed      uint64
	Invariant Invariant
	At        time.Duration
	What      string
	// Key is what to look for in the trace.
	Key string
}

// String returns one line.
func (v Violation) String() string {
	return fmt.Sprintf("seed %d after %s: %s: %s", v.Seed, v.At, v.Invariant, v.What)
}

// Failed reports whether an invariant was violated.
func (r *Report) Failed() bool { return len(r.Violations) > 0 }

// recordCheck counts a check of an invariant.
func (sim *simulator) recordCheck(i Invariant) { sim.Reached[string(i)]++ }

// recordViolation records a violation of an invariant.
func (sim *simulator) recordViolation(i Invariant, format string, args ...any) {
	v := Violation{Seed: sim.seed, Invariant: i, At: sim.now, What: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if k, ok := a.(key); ok {
			v.Key = k.String()
		}
	}
	sim.trace.add("VIOLATION %s: %s", i, v.What)
	if sim.only == "" || sim.only == i {
		sim.Violations = append(sim.Violations, v)
	}
}
