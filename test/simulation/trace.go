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

// trace is all that happened. Its hash is always there, its lines only if they are to be kept.
type trace struct {
	w     *World
	sum   hash.Hash64
	keep  bool
	lines []string
}

func newTrace(w *World, keep bool) *trace { return &trace{w: w, sum: fnv.New64a(), keep: keep} }

// add notes one thing that happened.
func (t *trace) add(format string, args ...any) {
	if t.w.killing != nil {
		return // what a dead process does
	}
	line := t.line(format, args...)
	_, _ = t.sum.Write([]byte(line))
	if t.keep {
		t.lines = append(t.lines, line)
	}
}

func (t *trace) line(format string, args ...any) string {
	return fmt.Sprintf("%12s ", t.w.now.Round(time.Millisecond)) + fmt.Sprintf(format, args...)
}

// logger takes in what the controller logs, if lines are kept; it does not count for the hash.
func (t *trace) logger(number int, k key) logr.Logger {
	if !t.keep {
		return logr.Discard()
	}
	return funcr.New(func(_, args string) { t.lines = append(t.lines, t.line("%d %s: log %s", number, k, args)) }, funcr.Options{Verbosity: 1})
}

// tail returns the last lines, and before those as many of the ones that are about something.
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
