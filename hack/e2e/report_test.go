//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestATableGoesIntoItsPlaceInTheDocs(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"a.md": "# A\n",
		"b.md": "# B\n<!-- make e2e: other -->\nthat\n<!-- end -->\n\n<!-- make e2e: this -->\nold\n<!-- end -->\nafter\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &cluster{options: options{docs: folder, moto: "moto"}}
	c.tables = []*table{{name: "this", header: []string{"SDK", "calls"}, rows: [][]string{{"Go v2", "7"}}}}
	for range 2 { // the second time finds what the first has left
		if err := c.writeDocs(); err != nil {
			t.Fatal(err)
		}
	}
	want := "# B\n<!-- make e2e: other -->\nthat\n<!-- end -->\n\n<!-- make e2e: this -->\n| SDK | calls |\n|---|---|\n| Go v2 | 7 |\n<!-- end -->\nafter\n"
	if got, err := os.ReadFile(filepath.Join(folder, "b.md")); err != nil || string(got) != want { //nolint:gosec // of the test
		t.Errorf("%v, the file is\n%s\nwant\n%s", err, got, want)
	}

	c.tables[0].name = "unheard"
	if err := c.writeDocs(); err == nil || !strings.Contains(err.Error(), "unheard") {
		t.Errorf("error for a table without a place is %v", err)
	}
}

func TestTheDocsHaveEveryTableOfAWholeRun(t *testing.T) {
	reliability, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := os.ReadFile("../../docs/sdk-configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(reliability) + string(configuration)
	for name, row := range map[string]string{"promise": "| the controller has to write it |", "judge": "| boto3 |", "trials": "| STS down |", "sdks": "| boto3 |"} {
		_, rest, _ := strings.Cut(docs, "<!-- make e2e: "+name+" -->")
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

func TestReportTellsWhatFailed(t *testing.T) {
	f := &fleet{cluster: &cluster{}, users: []*user{newUser(), newUser()}}
	f.users[0].calls = 10
	f.begin("quiet")
	f.users[0].calls, f.users[1].calls = 12, 5
	f.begin("loud")
	f.users[0].calls, f.users[1].failed, f.users[1].deleted, f.users[0].stale = 13, 1, 2, 20*time.Second
	f.end()
	f.report()
	rows := f.tables[0].rows
	for i, want := range []string{"quiet 7 0 0 0", "loud 1 1 2 20"} {
		row := rows[i]
		if got := strings.Join([]string{row[0], row[2], row[3], row[4], row[5]}, " "); got != want {
			t.Errorf("row %d is %q, want %q", i, got, want)
		}
	}
}
