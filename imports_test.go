// Package opennlb_test enforces the architecture: what may import what, and
// what the pure packages must do without. docs/ARCHITECTURE.md has the reasons.
package opennlb_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/opennlb/opennlb"

// layers gives each top-level directory its height. A package imports its own
// directory and lower ones; equals know nothing of each other.
var layers = map[string]int{
	"nlbhash":   0,
	"portrules": 1,
	"converge":  2,
	"config":    3,

	"control":    4,
	"dataplane":  4,
	"health":     4,
	"hook":       4,
	"l2":         4,
	"membership": 4,

	"agent":  5,
	"doctor": 5,
	"lab":    6, // and imported by tests and cmd/nlblab only
	"cmd":    7,

	"scripts": 0, // tools of the repository: import nothing, are imported by nobody
	".":       8, // tests of the whole
}

// pure packages have no effects: what they may import of the standard library is
// listed, so that sockets, files, clocks and goroutines cannot slip in.
var (
	pure       = []string{"nlbhash", "portrules", "converge"}
	pureImport = []string{
		"bytes", "cmp", "container/list", "encoding/base64", "encoding/binary", "encoding/json", "errors", "fmt", "hash", "iter", "maps",
		"math", "math/bits", "math/rand/v2", "net/netip", "slices", "sort", "strconv", "strings", "time", "unicode",
	}
)

// pureUse says whether a name of the packages time and rand is pure: no clock is
// read and no timer started, and randomness comes from a generator with a seed.
func pureUse(pkg, name string) bool {
	switch pkg {
	case "time":
		return !slices.Contains([]string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}, name)
	case "rand":
		return slices.Contains([]string{"New", "NewPCG", "PCG", "Rand", "Source"}, name)
	}
	return true
}

// source is one parsed Go file.
type source struct {
	file string // path from the root
	dir  string // its package
	test bool
	ast  *ast.File
}

// top is the top-level directory that a package directory belongs to.
func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// imports lists the import paths of a file.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser accepts only valid literals
		paths = append(paths, p)
	}
	return paths
}

// internal says whether an import path is of this module, and its directory.
func internal(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

var fileset = token.NewFileSet()

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	walk(t, func(file string) {
		if path.Ext(file) != ".go" {
			return
		}
		f, err := parser.ParseFile(fileset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("parse: %v", err)
		}
		all = append(all, source{file, path.Dir(file), strings.HasSuffix(file, "_test.go"), f})
	})
	if len(all) < 5 {
		t.Fatalf("found %d Go files: the test does not see the module", len(all))
	}
	return all
}

// walk calls visit for every file of the repository.
func walk(t *testing.T, visit func(file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			visit(filepath.ToSlash(file))
			return nil
		}
		if file == "bin" || file == "dist" || d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.' {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryPackageHasALayer(t *testing.T) {
	dirs := map[string]bool{}
	for _, s := range sources(t) {
		dirs[s.dir] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if _, ok := layers[top(dir)]; !ok {
			t.Errorf("package %s has no layer: add %s to the table in imports_test.go and to docs/ARCHITECTURE.md", dir, top(dir))
		}
	}
}

func TestImportsGoDown(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range s.imports() {
			dir, ok := internal(p)
			if !ok {
				continue
			}
			from, to := top(s.dir), top(dir)
			switch {
			case to == "lab" && from != "lab" && s.dir != "cmd/nlblab" && !s.test:
				t.Errorf("%s imports %s: lab is for tests and cmd/nlblab", s.file, dir)
			case from == to || to == "lab":
			case layers[to] >= layers[from]:
				t.Errorf("%s imports %s: imports go down only, and %s is not below %s", s.file, dir, to, from)
			}
		}
	}
}

func TestPurePackages(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, top(s.dir)) {
			continue
		}
		for _, p := range s.imports() {
			if _, ok := internal(p); !ok && !slices.Contains(pureImport, p) {
				t.Errorf("%s imports %s: %s is pure; take what you need as an argument", s.file, p, top(s.dir))
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: %s is pure", fileset.Position(n.Pos()), top(s.dir))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && !pureUse(x.Name, n.Sel.Name) {
					t.Errorf("%s uses %s.%s: %s is pure; take time and randomness as arguments", fileset.Position(n.Pos()), x.Name, n.Sel.Name, top(s.dir))
				}
			}
			return true
		})
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init hides work from the reader; call it from where it is needed", fileset.Position(f.Pos()))
			}
		}
	}
}

func TestProgramsNeedGoOnly(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && slices.Contains(s.imports(), "C") {
			t.Errorf("%s uses cgo: make build must do without a C compiler", s.file)
		}
	}
}

// TestLicenceOfC looks in the first lines of every C file for the one by which
// tools know its licence.
func TestLicenceOfC(t *testing.T) {
	seen := 0
	walk(t, func(file string) {
		if ext := path.Ext(file); ext != ".c" && ext != ".h" {
			return
		}
		seen++
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head := strings.SplitAfterN(string(text), "\n", 4)
		if !strings.Contains(strings.Join(head[:min(3, len(head))], ""), "SPDX-License-Identifier: ") {
			t.Errorf("%s: the first three lines lack SPDX-License-Identifier", file)
		}
	})
	if seen == 0 {
		t.Error("found no C file: where is the eBPF program?")
	}
}
