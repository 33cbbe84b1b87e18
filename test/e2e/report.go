package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// table is what a test has measured, for the terminal and for docs/.
type table struct {
	// name is that of the place in docs/ that the table is for.
	name   string
	header []string
	rows   [][]string
}

// print prints the table in columns.
func (t *table) print(to io.Writer) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		_, _ = fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	_ = out.Flush()
}

// markdown returns the table as docs/ have it.
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

// writeDocs writes every table to its place in a folder: between two comments of Markdown, of which
// the first names it.
func writeDocs(folder string, tables []*table) error {
	var failures []error
	for _, t := range tables {
		failures = append(failures, t.writeTo(folder))
	}
	return errors.Join(failures...)
}

func (t *table) writeTo(folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		old, err := os.ReadFile(path) //nolint:gosec // the project's own
		if err != nil {
			return err
		}
		if changed, found := replaceBetween(string(old), t.name, t.markdown()); found {
			return os.WriteFile(path, []byte(changed), 0o644) //nolint:gosec // docs are for every user
		}
	}
	return fmt.Errorf("no file in %s has a place for %q", folder, t.name)
}

// replaceBetween replaces what stands between the comments that name a place.
func replaceBetween(document, name, text string) (changed string, found bool) {
	begin, end := "<!-- make e2e: "+name+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(document, begin)
	if !found {
		return document, false
	}
	_, after, found := strings.Cut(rest, end)
	return before + begin + text + end + after, found
}

// faultRow is what was seen from the begin of one fault to that of the next.
type faultRow struct {
	name, note string
	began      time.Time
	took       time.Duration
	calls      int
	failed     int
	deleted    int
	stale      time.Duration // how long past half of its session the oldest Secret was
}

// end takes in what was seen of every caller since the row began.
func (r *faultRow) end(callers []*caller) {
	r.took = time.Since(r.began)
	for _, c := range callers {
		r.calls += len(c.identities) - c.callsAtRow
		r.failed += c.failed()
		r.deleted += c.deleted
		r.stale = max(r.stale, c.stale)
	}
}

// faultTable returns what was seen during each fault.
func faultTable(rows []faultRow) *table {
	t := table{name: "trials", header: []string{
		"trial", "seconds", "calls", "failed", "Secrets deleted wrongly", "stale longest, s", "what happened",
	}}
	for _, r := range rows {
		t.rows = append(t.rows, []string{
			r.name, seconds(r.took), strconv.Itoa(r.calls), strconv.Itoa(r.failed), strconv.Itoa(r.deleted), seconds(r.stale), r.note,
		})
	}
	return &t
}

// callerFigures are the columns of callerTable for pods that read files, and again for those that
// use the endpoint.
var callerFigures = []string{"calls", "failed", "rotations", "s from rotation to use, p50", "worst", "s left of a session in use, least"}

// callerTable returns what was seen of each SDK during all faults, a row each.
func callerTable(callers []*caller) *table {
	t := table{name: "sdks", header: append([]string{"SDK", "version", "file"}, callerFigures...)}
	for _, name := range callerFigures {
		t.header = append(t.header, "endpoint: "+name)
	}
	rows := map[string]int{}
	for _, c := range callers {
		i, known := rows[c.title]
		if !known {
			i = len(t.rows)
			rows[c.title] = i
			row := slices.Repeat([]string{"–"}, len(t.header))
			row[0], row[1] = c.title, c.version
			t.rows = append(t.rows, row)
		}
		if row := t.rows[i]; c.endpoint {
			copy(row[3+len(callerFigures):], c.figures())
		} else {
			row[2] = "`" + c.file() + "`"
			copy(row[3:], c.figures())
		}
	}
	return &t
}

// figures returns the columns callerFigures. It sorts the lags.
func (c *caller) figures() []string {
	slices.Sort(c.lags)
	var p50, worst time.Duration
	if len(c.lags) > 0 {
		p50, worst = median(c.lags), c.lags[len(c.lags)-1]
	}
	return []string{
		strconv.Itoa(len(c.identities)), strconv.Itoa(c.failed()), strconv.Itoa(len(c.lags)), seconds(p50), seconds(worst), seconds(c.left),
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()) }

// spread returns a table's row with the median, the 90th percentile and the maximum. It sorts the
// durations.
func spread(what string, of []time.Duration) []string {
	slices.Sort(of)
	row := []string{what}
	for _, d := range []time.Duration{median(of), of[(len(of)-1)*9/10], of[len(of)-1]} {
		row = append(row, fmt.Sprintf("%.2f s", d.Seconds()))
	}
	return row
}

// median returns that of sorted durations.
func median(of []time.Duration) time.Duration { return of[(len(of)-1)/2] }
