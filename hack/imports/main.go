// Command imports fails when a package imports what it may not: the pure
// packages stay pure, the AWS SDK stays in one place, and the arrows between
// packages keep pointing one way. What is allowed is in table.go.
//
// It looks at the module in the current folder.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// pkg is the part of go list's answer that the check needs.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       struct{ Path string }
}

func main() {
	packages, err := list()
	if err != nil {
		fmt.Fprintln(os.Stderr, "imports:", err)
		os.Exit(1)
	}
	violations := check(packages)
	for _, violation := range violations {
		fmt.Fprintln(os.Stderr, violation)
	}
	if len(violations) > 0 {
		os.Exit(1)
	}
}

// list returns the packages of the module in the current folder.
func list() ([]pkg, error) {
	command := exec.CommandContext(context.Background(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Module", "./...")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []pkg
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading go list's answer: %w", err)
		}
		packages = append(packages, p)
	}
}

// check returns one line for each rule that is broken, none if all is well.
func check(packages []pkg) []string {
	var violations []string
	for _, p := range packages {
		name := p.local(p.ImportPath)
		if slices.Contains(meaningless, path.Base(name)) {
			violations = append(violations, name+": name the package after what it is for")
		}
		if !within(governed, name) {
			continue
		}
		row, ok := table[name]
		if !ok {
			violations = append(violations, name+": has no row in hack/imports/table.go that says what it may import")
			continue
		}
		violations = append(violations, checkRow(p, row)...)
	}
	return violations
}

// checkRow is check for one package, given what its row of the table allows.
func checkRow(p pkg, row []string) []string {
	var violations []string
	refuse := func(format, imported string) {
		violations = append(violations, fmt.Sprintf(format+" (see hack/imports/table.go)", p.local(p.ImportPath), imported))
	}
	for _, imported := range p.Imports {
		if local := p.local(imported); !p.standard(imported) && !allows(row, local) {
			refuse("%s: may not import %s", local)
		}
	}
	inTests := slices.Concat(row, testsMayAlso, []string{p.local(p.ImportPath)})
	for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
		if local := p.local(imported); within(governed, local) && !allows(inTests, local) {
			refuse("%s: its tests may not import %s", local)
		}
	}
	return violations
}

// local shortens the path of a package of p's own module to its folder, and
// leaves all others as they are.
func (p pkg) local(importPath string) string {
	return strings.TrimPrefix(importPath, p.Module.Path+"/")
}

// standard tells the standard library's packages: no other path, save our own
// module's, lacks a dot in its first element.
func (p pkg) standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return first != p.Module.Path && !strings.Contains(first, ".")
}

// allows tells whether a row lets a package in; the test double only by its
// own full path.
func allows(row []string, importPath string) bool {
	if importPath == testDouble {
		return slices.Contains(row, testDouble)
	}
	return within(row, importPath)
}

// within tells whether one of the folders is, or is above, importPath.
func within(folders []string, importPath string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		return importPath == folder || strings.HasPrefix(importPath, folder+"/")
	})
}
