package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"
)

// figure is one measured number.
type figure struct {
	Case  string  `json:"case"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Most is what it must not exceed; nil where there is no such bound.
	Most *float64 `json:"most,omitempty"`
	// N is how many there were of what grew, if it was measured at several sizes.
	N  int    `json:"n,omitempty"`
	Of string `json:"of,omitempty"`
	// Upstream is what zalando-incubator/kube-aws-iam-controller v0.2.0 reached, measured the same
	// way.
	Upstream string `json:"upstream,omitempty"`
}

func (f figure) atMost(bound float64) figure    { f.Most = &bound; return f }
func (f figure) upstream(reached string) figure { f.Upstream = reached; return f }
func (f figure) missed() bool                   { return f.Most != nil && f.Value > *f.Most }
func number(name string, v float64) figure      { return figure{Name: name, Value: v} }
func seconds(name string, d time.Duration) figure {
	return figure{Name: name, Value: round(d.Seconds()), Unit: "s"}
}

func milliseconds(name string, d time.Duration) figure {
	return figure{Name: name, Value: round(d.Seconds() * 1000), Unit: "ms"}
}

func mebibytes(name string, size int64) figure {
	return figure{Name: name, Value: round(float64(size) / (1 << 20)), Unit: "MiB"}
}

// round keeps three digits: a measurement on a shared machine is no more exact.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(v))))
	if scale < 1 {
		scale = 1
	}
	return math.Round(v*scale) / scale
}

// quantile is the smallest duration that is not exceeded by a share q of all.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func readFigures(path string) ([]figure, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user's own file
	if err != nil {
		return nil, err
	}
	var figures []figure
	if err := json.Unmarshal(text, &figures); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return figures, nil
}

func writeFigures(path string, figures []figure) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(figures); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644) //nolint:gosec // for all to read
}

// mergeFigures returns the figures of cases in their order: those that were measured now, and of
// the other cases those before.
func mergeFigures(cases []benchCase, before, now []figure) (merged []figure) {
	of := func(figures []figure, name string) []figure {
		return slices.DeleteFunc(slices.Clone(figures), func(f figure) bool { return f.Case != name })
	}
	for _, c := range cases {
		figures := of(now, c.name)
		if len(figures) == 0 {
			figures = of(before, c.name)
		}
		merged = append(merged, figures...)
	}
	return merged
}

// table prints figures as they come.
type table struct {
	before  []figure
	figures []figure
	missed  int
}

const rowForm = "| %-42s | %-38s | %12s | %12s | %12s | %12s |\n"

func (t *table) head() {
	fmt.Printf(rowForm, "case", "figure", "measured", "must reach", "last time", "upstream")
	fmt.Printf(rowForm, "---", "---", "--:", "--:", "--:", "--:")
}

func (t *table) row(f figure) {
	most, last := "", ""
	if f.Most != nil {
		most = "<= " + f.in(*f.Most)
	}
	for _, b := range t.before {
		if b.Case == f.Case && b.Name == f.Name {
			last = f.in(b.Value)
		}
	}
	measured := f.in(f.Value)
	if f.missed() {
		measured = "! " + measured
		t.missed++
	}
	t.figures = append(t.figures, f)
	fmt.Printf(rowForm, f.Case, f.Name, measured, most, last, f.Upstream)
}

func (f figure) in(v float64) string {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if f.Unit != "" {
		text += " " + f.Unit
	}
	return text
}

func (t *table) verdict() string {
	if t.missed > 0 {
		return fmt.Sprintf("%d of %d figures miss what they must reach (!)", t.missed, len(t.figures))
	}
	return fmt.Sprintf("all %d figures are what they must be", len(t.figures))
}
