package script_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dagon-star/dagon-star"

// mayTouch are the packages of the project that each may import, a line a room:
// arrows point down only.
var mayTouch = map[string]string{
	"runtime/event":   "runtime/exact runtime/internal/lines",
	"runtime/exact":   "",
	"runtime/clock":   "",
	"runtime/task":    "runtime/clock",
	"runtime/verdict": "runtime/event",
	"runtime/roster":  "runtime/event",
	"runtime/journal": "runtime/clock runtime/event runtime/roster",
	"runtime/await":   "runtime/event runtime/journal runtime/osc runtime/roster",
	"runtime/node": "runtime/address runtime/clock runtime/control runtime/event runtime/journal runtime/osc runtime/output runtime/process " +
		"runtime/probe runtime/roster runtime/topology",
	"runtime/history":               "runtime/event runtime/exact runtime/internal/lines",
	"runtime/internal/lines":        "",
	"runtime/history/linearization": "runtime/history",
	"runtime/history/transaction":   "runtime/history",
	"runtime/probe":                 "runtime/history runtime/process runtime/journal runtime/userfile",
	"runtime/fault":                 "runtime/clock runtime/event runtime/journal runtime/verdict",
	"runtime/report":                "runtime/event runtime/exact runtime/fault runtime/osc runtime/roster runtime/verdict",
	"runtime/link":                  "runtime/clock runtime/internal/openfiles runtime/osc",
	"runtime/osc":                   "",
	"runtime/control":               "runtime/clock runtime/osc",
	"runtime/component":             "runtime/clock runtime/control runtime/osc",
	"runtime/process":               "runtime/userfile",
	"runtime/output":                "runtime/internal/logfile",
	"runtime/folder":                "runtime/internal/logfile runtime/process",
	"runtime/topology":              "runtime/userfile",
	"runtime/address":               "runtime/exact runtime/link runtime/topology",
	"runtime/userfile":              "",
	"runtime/record":                "runtime/userfile",
	"runtime/internal/allocated":    "",
	"runtime/internal/logfile":      "",
	"runtime/internal/openfiles":    "",
	"runtime": "runtime/history runtime/internal/openfiles runtime/probe runtime/userfile runtime/address " +
		"runtime/await runtime/clock runtime/control runtime/event runtime/fault runtime/folder runtime/journal " +
		"runtime/link runtime/node runtime/osc " +
		"runtime/output runtime/process runtime/roster runtime/topology runtime/verdict",
	"builtins": "runtime runtime/history/linearization runtime/history/transaction runtime/probe runtime/clock " +
		"runtime/control runtime/event runtime/fault runtime/history runtime/link runtime/osc runtime/output " +
		"runtime/process runtime/record runtime/roster runtime/task runtime/topology runtime/userfile runtime/verdict",
	"script": "builtins scenarios runtime runtime/history runtime/event runtime/exact runtime/fault " +
		"runtime/link runtime/process runtime/report runtime/topology runtime/userfile runtime/verdict",
	"scenarios":           "",
	"scenarios/buffy":     "runtime/component runtime/control runtime/osc runtime/record",
	"runtime/archive":     "runtime/event runtime/exact runtime/folder runtime/userfile",
	"runtime/site":        "runtime/archive",
	"cmd/dagon-star/live": "runtime/event runtime/fault runtime/report",
	"cmd/dagon-star": "cmd/dagon-star/live runtime/archive runtime/site builtins scenarios scenarios/buffy script runtime " +
		"runtime/event runtime/exact runtime/fault " +
		"runtime/folder runtime/osc runtime/process " +
		"runtime/report runtime/roster runtime/topology runtime/userfile runtime/verdict",
}

// never are packages that some do without: those that are pure do no I/O, and keep
// no time; the engine knows nothing of scripts.
var never = map[string]string{
	"runtime/event":   "os net os/exec sync",
	"runtime/verdict": "os net os/exec sync time io",
	"runtime/history": "os net os/exec sync",
	"runtime/roster":  "os net os/exec sync io",
	"runtime/journal": "os net os/exec",
	"runtime/await":   "os net os/exec io",
	"runtime/node":    "os/exec",
	"runtime/task":    "os net os/exec io",
	"runtime/fault":   "os net os/exec",
	"runtime/report":  "os net os/exec",
	"scenarios/buffy": "go.starlark.net/starlark",
	"script":          "github.com/spf13/pflag",
}

// TestArrows holds what each package imports.
func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatal("go list: ", err)
	}
	for line := range strings.Lines(string(out)) {
		imports := strings.Fields(line)
		pkg := strings.TrimPrefix(imports[0], module+"/")
		allowed, known := mayTouch[pkg]
		if strings.Contains(pkg, "/testdata/") {
			continue
		}
		if !known {
			t.Errorf("%s is not in the table of what each package may import", pkg)
		}
		for _, i := range imports[1:] {
			own, isOwn := strings.CutPrefix(i, module+"/")
			if isOwn && !slices.Contains(strings.Fields(allowed), own) || slices.Contains(strings.Fields(never[pkg]), i) {
				t.Errorf("%s imports %s", pkg, i)
			}
			if strings.HasPrefix(pkg, "runtime") && strings.HasPrefix(i, "go.starlark.net") {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
}

// TestOneJudge: package verdict alone sets the outcome of a run. What has no run,
// such as a test whose script is broken, cmd names by itself. Actions and operations
// have outcomes of their own, in packages probe and history.
func TestOneJudge(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || path == filepath.Join("..", "runtime", "verdict") ||
			path == filepath.Join("..", "runtime", "history") || path == filepath.Join("..", "runtime", "probe")) {
			return orSkip(err)
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, to := range n.Lhs {
					s, ok := to.(*ast.SelectorExpr)
					if !ok || s.Sel.Name != "Outcome" {
						continue
					}
					if x, ok := s.X.(*ast.Ident); !ok || x.Name != "test" || filepath.Base(path) != "test.go" {
						t.Errorf("%s sets an outcome", files.Position(n.Pos()))
					}
				}
			case *ast.CompositeLit:
				s, ok := n.Type.(*ast.SelectorExpr)
				if ok && s.Sel.Name == "Verdict" && len(n.Elts) > 0 {
					if x, ok := s.X.(*ast.Ident); !ok || x.Name != "event" {
						t.Errorf("%s makes a verdict", files.Position(n.Pos()))
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// orSkip is to leave out a folder, unless there is an error.
func orSkip(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}
