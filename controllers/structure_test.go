package controllers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// steps has the files of each step of a reconcile. A step uses functions of its own files and of
// those that are not listed: data types that pass between the steps, with what they compute from
// themselves. reconciler.go and core.go alone use the steps.
var steps = map[string]string{
	"sources.go": "event sources",
	"gather.go":  "snapshot", "claim.go": "snapshot",
	"decide.go": "decide",
	"act.go":    "act",
	"record.go": "record", "report.go": "record",
	"status.go":     "status",
	"reconciler.go": "wiring", "core.go": "wiring",
}

// TestStructure_DataGoesOneWay requires that no step uses a function or method of another step, and
// prints all uses between files.
func TestStructure_DataGoesOneWay(t *testing.T) {
	uses := usesBetweenFiles(t)
	for _, use := range slices.SortedFunc(maps.Keys(uses), func(a, b pair) int { return slices.Compare(a[:], b[:]) }) {
		from, to := use[0], use[1]
		t.Logf("%s uses %s of %s", from, strings.Join(slices.Sorted(maps.Keys(uses[use])), ", "), to)
		if steps[to] != "" && steps[from] != steps[to] && steps[from] != "wiring" {
			t.Errorf("%s (%s) uses %s (%s)", from, steps[from], to, steps[to])
		}
	}
	for file := range steps {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a step has a file that does not exist: %v", err)
		}
	}
	if len(uses) < 20 {
		t.Errorf("only %d uses were found", len(uses))
	}
}

// maxWay is how many files one pod passes at most from the watch to its Secret.
const maxWay = 9

// TestStructure_OnePodPassesFewFiles follows the uses from the event of a pod to the write of its
// Secret, but for what comes after it.
func TestStructure_OnePodPassesFewFiles(t *testing.T) {
	uses := usesBetweenFiles(t)
	way := []string{"sources.go", "reconciler.go"}
	for i := 0; i < len(way); i++ {
		for use := range uses {
			to := use[1]
			afterwards := slices.Contains([]string{"record", "status", "wiring"}, steps[to])
			if use[0] == way[i] && !afterwards && !slices.Contains(way, to) {
				way = append(way, to)
			}
		}
	}
	slices.Sort(way[2:])
	t.Logf("one pod passes %d files: %s", len(way), strings.Join(way, ", "))
	if len(way) > maxWay {
		t.Errorf("one pod passes %d files: %v", len(way), way)
	}
	if !slices.Contains(way, "act.go") {
		t.Error("the way does not lead to the step that writes")
	}
}

// pair is a file that uses another.
type pair [2]string

// usesBetweenFiles returns the functions and methods that each file uses of another.
func usesBetweenFiles(t *testing.T) map[pair]map[string]bool {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	// Other packages are not needed to resolve what is declared in this one, so their absence is
	// no error.
	config := types.Config{Importer: noPackages{}, Error: func(error) {}}
	pkg, _ := config.Check("controllers", fset, files, info) // every error was ignored above
	uses := map[pair]map[string]bool{}
	for ident, object := range info.Uses {
		function, ok := object.(*types.Func)
		if !ok || function.Pkg() != pkg {
			continue
		}
		use := pair{fset.Position(ident.Pos()).Filename, fset.Position(function.Pos()).Filename}
		if use[0] == use[1] {
			continue
		}
		if uses[use] == nil {
			uses[use] = map[string]bool{}
		}
		uses[use][function.Name()] = true
	}
	return uses
}

// noPackages is an importer that finds no package.
type noPackages struct{}

var _ types.Importer = noPackages{}

// Import implements types.Importer.
func (noPackages) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not imported", path)
}
