//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// table is what was seen, for the terminal and for docs/.
type table struct {
	// name is that of the place in docs/ that the table is for.
	name   string
	header []string
	rows   [][]string
}

// print prints the table, with the numbers under each other.
func (t *table) print() {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		_, _ = fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	_ = out.Flush()
}

// markdown is the table as docs/ have it.
func (t *table) markdown() string {
	var text strings.Builder
	line := func(cells []string) { text.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.header)
	text.WriteString(strings.Repeat("|---", len(t.header)) + "|\n")
	for _, row := range t.rows {
		line(row)
	}
	return text.String()
}

// add prints a table and keeps it for the docs.
func (c *cluster) add(t *table) {
	t.print()
	c.tables = append(c.tables, t)
}

// writeDocs puts every table in its place: between two comments of Markdown that name it.
func (c *cluster) writeDocs() error {
	if c.docs == "" {
		return nil
	}
	if c.moto == "" {
		return errors.New("the docs have the tables of a whole run, and there was no moto")
	}
	var failures []error
	for _, t := range c.tables {
		failures = append(failures, inFolder(c.docs, t.name, t.markdown()))
	}
	return errors.Join(failures...)
}

func inFolder(folder, name, text string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		old, err := os.ReadFile(path) //nolint:gosec // the project's own
		if err != nil {
			return err
		}
		if changed, found := between(string(old), name, text); found {
			return os.WriteFile(path, []byte(changed), 0o644) //nolint:gosec // docs are for everybody
		}
	}
	return fmt.Errorf("no file in %s has a place for %q", folder, name)
}

// between replaces what stands between the comments that name a place.
func between(document, name, text string) (changed string, found bool) {
	begin, end := "<!-- make e2e: "+name+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(document, begin)
	if !found {
		return document, false
	}
	_, after, found := strings.Cut(rest, end)
	return before + begin + text + end + after, found
}

// report tells how the trials went, and how each SDK has fared through all of them.
func (f *fleet) report() {
	trials := table{name: "trials", header: []string{"trial", "seconds", "calls", "failed", "Secrets deleted wrongly", "stale longest, s", "what happened"}}
	for _, t := range f.tried {
		trials.rows = append(trials.rows, []string{
			t.name, seconds(t.took), strconv.Itoa(t.calls), strconv.Itoa(t.failed), strconv.Itoa(t.deleted), seconds(t.stale), t.note,
		})
	}
	fmt.Printf("Sessions of %s\n", sdkSession)
	f.add(&trials)
	fmt.Println()

	sdks := table{name: "sdks", header: []string{
		"SDK", "version", "file", "calls", "failed", "rotations", "s from rotation to use, p50", "worst", "s left of a session in use, least",
	}}
	for _, u := range f.users {
		slices.Sort(u.lags)
		var p50, worst time.Duration
		if len(u.lags) > 0 {
			p50, worst = median(u.lags), u.lags[len(u.lags)-1]
		}
		sdks.rows = append(sdks.rows, []string{
			u.title, u.version, "`" + u.file() + "`", strconv.Itoa(u.calls), strconv.Itoa(u.failed), strconv.Itoa(len(u.lags)), seconds(p50), seconds(worst), seconds(u.left),
		})
	}
	f.add(&sdks)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()) }
