package simulation

import (
	"fmt"
	"hash"
	"hash/fnv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// trace records all that happens: always as a hash, and as lines if keep is true.
type trace struct {
	sim   *simulator
	sum   hash.Hash64
	keep  bool
	lines []string
}

func newTrace(sim *simulator, keep bool) *trace {
	return &trace{sim: sim, sum: fnv.New64a(), keep: keep}
}

// add records one thing that happened.
func (t *trace) add(format string, args ...any) {
	if t.sim.killing != nil {
		return // a dead process does nothing
	}
	line := t.line(format, args...)
	_, _ = t.sum.Write([]byte(line))
	if t.keep {
		t.lines = append(t.lines, line)
	}
}

func (t *trace) line(format string, args ...any) string {
	return fmt.Sprintf("%12s ", t.sim.now.Round(time.Millisecond)) + fmt.Sprintf(format, args...)
}

// logger returns a logger that adds to the lines, and not to the hash.
func (t *trace) logger(number int, k key) logr.Logger {
	if !t.keep {
		return logr.Discard()
	}
	return funcr.New(func(_, args string) { t.lines = append(t.lines, t.line("%d %s: log %s", number, k, args)) }, funcr.Options{Verbosity: 1})
}

// tail returns the last n lines, and before them up to n earlier ones that contain about.
func (t *trace) tail(n int, about string) string {
	var some []string
	last := max(0, len(t.lines)-n)
	for _, line := range t.lines[:last] {
		if about != "" && strings.Contains(line, about) && !strings.Contains(line, ": again in ") {
			some = append(some, line)
		}
	}
	return strings.Join(append(some[max(0, len(some)-n):], t.lines[last:]...), "\n")
}
