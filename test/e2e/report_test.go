package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteDocs(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"a.md": "# A\n",
		"b.md": "# B\n<!-- make e2e: other -->\nthat\n<!-- end -->\n\n<!-- make e2e: this -->\nold\n<!-- end -->\nafter\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	this := &table{name: "this", header: []string{"SDK", "calls"}, rows: [][]string{{"Go v2", "7"}}}
	for range 2 { // the second time replaces what the first has written
		if err := writeDocs(folder, []*table{this}); err != nil {
			t.Fatal(err)
		}
	}
	want := "# B\n<!-- make e2e: other -->\nthat\n<!-- end -->\n\n" +
		"<!-- make e2e: this -->\n| SDK | calls |\n|---|---|\n| Go v2 | 7 |\n<!-- end -->\nafter\n"
	if got, err := os.ReadFile(filepath.Join(folder, "b.md")); err != nil || string(got) != want { //nolint:gosec // of the test
		t.Errorf("%v, the file is\n%s\nwant\n%s", err, got, want)
	}

	this.name = "missing"
	if err := writeDocs(folder, []*table{this}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error for a table without a place is %v", err)
	}
}

func TestDocs_HaveEveryTableOfAWholeRun(t *testing.T) {
	var docs strings.Builder
	for _, name := range []string{"reliability.md", "sdk-configuration.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name)) //nolint:gosec // one of two
		if err != nil {
			t.Fatal(err)
		}
		docs.Write(text)
	}
	for name, row := range map[string]string{
		"promise": "| the controller has to write it |", "moto": "| boto3 |", "trials": "| STS down |", "sdks": "| boto3 |",
	} {
		_, rest, _ := strings.Cut(docs.String(), "<!-- make e2e: "+name+" -->")
		if text, _, found := strings.Cut(rest, "<!-- end -->"); !found || !strings.Contains(text, row) {
			t.Errorf("there is no table %q with a row %q", name, row)
		}
	}
}

func TestSpread(t *testing.T) {
	var of []time.Duration
	for i := range 100 {
		of = append(of, time.Duration(100-i)*10*time.Millisecond)
	}
	if got := strings.Join(spread("all", of), " "); got != "all 0.50 s 0.90 s 1.00 s" {
		t.Error(got)
	}
}

func TestFaultTable_CountsWhatEachFaultHasCaused(t *testing.T) {
	callers := []*caller{anyCaller(), anyCaller()}
	first, second := callers[0], callers[1]
	call := func(c *caller, calls int) { c.identities = slices.Repeat([]string{"arn"}, calls) }
	begin := func() {
		for _, c := range callers {
			c.beginRow()
		}
	}
	quiet, loud := faultRow{name: "quiet"}, faultRow{name: "loud"}
	call(first, 10)
	begin()
	call(first, 12)
	call(second, 5)
	quiet.end(callers)
	begin()
	call(first, 13)
	second.refused, second.deleted, first.stale = 1, 2, 20*time.Second
	loud.end(callers)

	rows := faultTable([]faultRow{quiet, loud}).rows
	for i, want := range []string{"quiet 7 0 0 0", "loud 1 1 2 20"} {
		row := rows[i]
		if got := strings.Join([]string{row[0], row[2], row[3], row[4], row[5]}, " "); got != want {
			t.Errorf("row %d is %q, want %q", i, got, want)
		}
	}
}

func TestCallerTable_HasARowForEachSDK(t *testing.T) {
	byFile, byEndpoint, only := anyCaller(), anyCaller(), anyCaller()
	byFile.title, byFile.version, byFile.env, byFile.identities = "Any", "v1", defaultEnv, []string{"arn", "arn"}
	byFile.lags, byFile.left = []time.Duration{9 * time.Second, 2 * time.Second, 3 * time.Second}, 20*time.Second
	byEndpoint.title, byEndpoint.version, byEndpoint.endpoint, byEndpoint.identities = "Any", "v1", true, []string{"arn"}
	only.title, only.version, only.endpoint = "Only", "v2", true

	rows := callerTable([]*caller{byFile, only, byEndpoint}).rows
	for i, want := range []string{
		"Any v1 `credentials.process` 2 0 3 3 9 20 1 0 0 0 0 60",
		"Only v2 – – – – – – – 0 0 0 0 0 60",
	} {
		if got := strings.Join(rows[i], " "); got != want {
			t.Errorf("row is %q, want %q", got, want)
		}
	}
}

func TestTable_PrintAlignsColumns(t *testing.T) {
	var out strings.Builder
	(&table{header: []string{"SDK", "calls"}, rows: [][]string{{"Go v2", "7"}}}).print(&out)
	if want := "SDK    calls\nGo v2  7\n"; out.String() != want {
		t.Errorf("prints %q, want %q", out.String(), want)
	}
}
