package simulation

import (
	"fmt"
	"time"
)

// Report is what came of one seed.
type Report struct {
	Seed uint64
	// Reached counts how often each invariant was put to the test, and each fault and action
	// there was.
	Reached map[string]int
	// Violations are the invariants that did not hold.
	Violations []Violation
	// Hash is the same for two runs of a seed.
	Hash uint64
	// Steps counts reconciles, and Simulated is how much time passed.
	Steps     int
	Simulated time.Duration
	// Trace is what happened, if it was kept.
	Trace func(lines int, about string) string
	// only is the one invariant that counts; if it is empty, all do.
	only Invariant
}

// Violation is one time that an invariant did not hold.
type Violation struct {
	Seed      uint64
	Invariant Invariant
	At        time.Duration
	What      string
	// Key is what in the trace it is about.
	Key string
}

// String is one line.
func (v Violation) String() string {
	return fmt.Sprintf("seed %d after %s: %s: %s", v.Seed, v.At, v.Invariant, v.What)
}

// Failed reports whether an invariant did not hold.
func (r *Report) Failed() bool { return len(r.Violations) > 0 }

// exercised notes that an invariant was put to the test.
func (w *World) exercised(i Invariant) { w.Reached[string(i)]++ }

// violated notes that it did not hold.
func (w *World) violated(i Invariant, format string, args ...any) {
	v := Violation{Seed: w.seed, Invariant: i, At: w.now, What: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if k, ok := a.(key); ok {
			v.Key = k.String()
		}
	}
	w.trace.add("VIOLATION %s: %s", i, v.What)
	if w.only == "" || w.only == i {
		w.Violations = append(w.Violations, v)
	}
}
