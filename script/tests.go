package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Tests are the names of a script's tests, for Config.Test: of every function at
// its top level whose name begins with test_, be it defined or loaded there, in
// their order, and where the script's cases have some for it, of each of these, as
// in "test_kill[TERM]". A script without such functions whose top level does something is one test, "";
// one that only defines what others load has none. The error is Mistakes.
//
// cases is a dict at the script's top level, of lists by the names of functions:
//
//	cases = {"test_kill": [{"signal": "KILL"}, {"signal": "TERM"}]}
//
// An element is a dict of the function's parameters, or a tuple or a single
// value where they are given by their places; in place of the list there may be
// a dict that gives each a name. It is made from constants, before any run.
//
// A script without test functions may have verdicts, a dict of constants: each of its
// keys, parameters as in "size=5 fast=true", makes a test, named "[size=5 fast=true]",
// that runs the whole script with them. It passes where the run comes to the verdict
// that the table has for it, and to nothing else beside that: "passed", or the outcome
// and a regular expression that its reason matches anywhere, "failed: acknowledged .* lost". Run judges it so;
// in the event log the verdict is the run's own.
//
// requires is a list of programs. Where this machine has not all of them, the tests of
// the script are skipped.
func Tests(c Config) ([]string, error) {
	places, err := TestPlaces(c)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, p := range places {
		names = append(names, p.Name)
	}
	return names, nil
}

// TestPlace is a test, and where it is written.
type TestPlace struct {
	Name string // one of Tests
	// File and Line are where its function is defined, where the table of its verdicts is,
	// or where the script begins. File is "" where that is no file: it is shipped with
	// dagon-star, or the program that runs it has given its text.
	File string
	Line int
}

// TestPlaces is Tests, with where each test is written.
func TestPlaces(c Config) ([]TestPlace, error) {
	c.Test = ""
	p, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(p.mistakes, func(m Mistake) bool { return m.Err == errNoTopology }) && c.isLibrary() {
		return []TestPlace{}, nil
	}
	tests := p.tests()
	if mistakes := slices.DeleteFunc(p.found(), isUnsupported); len(mistakes) > 0 {
		return nil, mistakes
	}
	places := []TestPlace{}
	for _, t := range tests {
		places = append(places, p.placeOf(t))
	}
	if len(tests) == 0 && p.main.acts() {
		places = append(places, p.placeOf(test{}))
	}
	return places, nil
}

// placeOf is where a test is written; of one without a name, where the script begins.
func (p *plan) placeOf(t test) TestPlace {
	at := syntax.MakePosition(&p.main.name, 1, 1)
	switch {
	case t.variant != nil:
		at = t.variant.at
	case t.function.def != nil:
		at = t.function.def.Name.NamePos
	}
	place := TestPlace{Name: t.name}
	for _, m := range p.modules {
		if m.name == at.Filename() && !m.shipped && !m.given {
			place.File, place.Line = m.name, int(at.Line)
		}
	}
	return place
}

// isLibrary reports whether the script only defines what others load.
func (c *Config) isLibrary() bool {
	s, err := c.findScript()
	if err != nil {
		return false
	}
	m := &module{source: *s}
	if m.file, err = dialect.Parse(s.name, s.text(), 0); err != nil {
		return false
	}
	p := &plan{main: m}
	tests, _ := p.testFunctions()
	return len(tests) == 0 && !m.acts()
}

// Test makes a subtest of go test of each test of a script, and runs it. One that
// this machine cannot do is skipped, an inconclusive one fails. Runs are kept where
// Config.RunsDir says; without it with the test's artifacts, which go test -artifacts
// alone keeps.
func Test(t *testing.T, c Config) {
	t.Helper()
	names, err := Tests(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("%s has no test", c.Script)
	}
	for _, name := range names {
		shown := name
		if shown == "" {
			shown = "script"
		}
		t.Run(shown, func(t *testing.T) {
			c := c
			c.Test = name
			if c.RunsDir == "" {
				c.RunsDir = t.ArtifactDir()
			}
			if c.Output == nil {
				c.Output = t.Output()
			}
			result, err := Run(t.Context(), c)
			switch {
			case IsUnsupported(err):
				t.Skip(err)
			case err != nil:
				t.Fatal(err)
			}
			for _, f := range result.Beside {
				t.Log(f.Told())
			}
			switch result.Outcome {
			case runtime.Passed:
			case runtime.Skipped:
				t.Skip(result.Reason)
			default:
				t.Errorf("%s at %s: %s\n%sseed %d, run %s", result.Outcome, result.Where, result.Reason, result.Backtrace, result.Seed, result.Folder)
			}
		})
	}
}

// IsUnsupported reports whether a run was not started, or ended, only because this
// machine cannot do a fault, has not a program that the script requires, or lets only
// root run a node as its user.
func IsUnsupported(err error) bool {
	var mistakes Mistakes
	if errors.As(err, &mistakes) {
		return !slices.ContainsFunc(mistakes, func(m Mistake) bool { return !isUnsupported(m) })
	}
	var unsupported *runtime.UnsupportedError
	return errors.As(err, &unsupported)
}

func isUnsupported(m Mistake) bool {
	return errors.As(m.Err, new(*runtime.UnsupportedError)) || errors.As(m.Err, new(*MissingProgramError)) ||
		errors.Is(m.Err, topology.ErrNotRoot)
}

// test is one test of a script: a function of it, or the whole of it with a verdict.
type test struct {
	name     string
	variant  *variant // nil for a function
	function testFunction
	args     starlark.Tuple
	kwargs   []starlark.Tuple
}

// function is a function that a file defines at its top level, or nil.
func (m *module) function(name string) *syntax.DefStmt {
	if m == nil || m.file == nil {
		return nil
	}
	if m.functions == nil {
		m.functions = map[string]*syntax.DefStmt{}
		for _, stmt := range m.file.Stmts {
			if def, ok := stmt.(*syntax.DefStmt); ok {
				m.functions[def.Name.Name] = def
			}
		}
	}
	return m.functions[name]
}

// testFunction is a function of the main script whose name begins with test_.
type testFunction struct {
	name *syntax.Ident // in the main script, which may load it by another
	def  *syntax.DefStmt
}

const testPrefix = "test_"

// testFunctions are those that the top level of the main script defines or loads,
// in their order; of several of one name the last.
func (p *plan) testFunctions() (all []testFunction, byName map[string]testFunction) {
	byName = map[string]testFunction{}
	if p.main.file == nil {
		return nil, byName
	}
	add := func(name *syntax.Ident, of *module, from string) {
		if !strings.HasPrefix(name.Name, testPrefix) {
			return
		}
		if def := of.function(from); def != nil {
			all = append(all, testFunction{name, def})
			byName[name.Name] = testFunction{name, def}
		}
	}
	for _, stmt := range p.main.file.Stmts {
		switch s := stmt.(type) {
		case *syntax.DefStmt:
			if p.main.function(s.Name.Name) == s {
				add(s.Name, p.main, s.Name.Name)
			}
		case *syntax.LoadStmt:
			for i, to := range s.To {
				add(to, p.main.loads[s.ModuleName()], s.From[i].Name)
			}
		}
	}
	return slices.DeleteFunc(all, func(f testFunction) bool { return byName[f.name.Name] != f }), byName
}

// checkTestNames finds what has the name of a test, or of what is called beside
// them, and is no function, so that it would silently never be called.
func (p *plan) checkTestNames() {
	if p.main.file == nil || p.main.file.Module == nil {
		return
	}
	tests, byName := p.testFunctions()
	if len(tests) == 0 { // a script without any may call its values what it likes
		p.checkHiddenTests()
		return
	}
	p.checkCasesChange()
	for _, b := range p.main.file.Module.(*resolve.Module).Globals {
		if name := b.First.Name; strings.HasPrefix(name, testPrefix) && byName[name].def == nil {
			p.mistake(b.First.NamePos, "%s has the name of a test, and is no function that def defines at the top level: "+
				"write def %[1]s(): …, or give it another name", name)
		}
	}
	for _, stmt := range p.main.file.Stmts {
		switch s := stmt.(type) {
		case *syntax.AssignStmt:
			if to, ok := s.LHS.(*syntax.Ident); ok && byName[to.Name].def != nil {
				p.mistake(to.NamePos, "%s is a test that def defines, and has another value from here on: give one of both another name", to.Name)
			}
			if to, ok := s.LHS.(*syntax.Ident); ok && (to.Name == "setup" || to.Name == "teardown") && isData(s.RHS) {
				p.mistake(to.NamePos, "%s is no function: each test calls it, write def %[1]s(): …, or give it another name", to.Name)
			}
		case *syntax.LoadStmt:
			for _, to := range s.To {
				if to.Name == "cases" {
					p.mistake(to.NamePos, "cases is loaded, and no file is before a run: make it here, of constants")
				}
			}
		}
	}
}

// checkHiddenTests finds functions with the name of a test in a script that has no
// test: those of a branch or a loop, and lambdas.
func (p *plan) checkHiddenTests() {
	found := func(name *syntax.Ident) {
		if strings.HasPrefix(name.Name, testPrefix) {
			p.mistake(name.NamePos, "%s has the name of a test, and is no function that def defines at the top level: write "+
				"def %[1]s(): …, or give it another name", name.Name)
		}
	}
	syntax.Walk(p.main.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			found(n.Name)
			return false
		case *syntax.LambdaExpr:
			return false
		case *syntax.AssignStmt:
			to, isName := n.LHS.(*syntax.Ident)
			if _, isLambda := n.RHS.(*syntax.LambdaExpr); isName && isLambda {
				found(to)
			}
		}
		return true
	})
}

// isData reports whether an expression shows that its value is no function.
func isData(e syntax.Expr) bool {
	switch e := e.(type) {
	case *syntax.Literal, *syntax.ListExpr, *syntax.TupleExpr, *syntax.DictExpr, *syntax.Comprehension, *syntax.UnaryExpr:
		return true
	case *syntax.ParenExpr:
		return isData(e.X)
	case *syntax.Ident:
		return e.Name == "None" || e.Name == "True" || e.Name == "False"
	}
	return false
}

// tests finds the tests of the main script.
func (p *plan) tests() (all []test) {
	functions, byName := p.testFunctions()
	if p.main.file == nil {
		return nil
	}
	if len(p.variants) > 0 {
		return p.variants
	}
	cases := p.cases(byName)
	for _, f := range functions {
		own := cases[f.name.Name]
		if own == nil {
			own = []test{{name: f.name.Name}}
		}
		for _, t := range own {
			t.function = f
			if wrong := t.misfit(); wrong != "" {
				p.mistake(f.name.NamePos, "%s: %s", t.name, wrong)
			}
			all = append(all, t)
		}
	}
	return all
}

// choose finds the test that the plan is to run.
func (p *plan) choose(name string) {
	if p.main.file == nil {
		return
	}
	tests := p.tests()
	var names []string
	for _, t := range tests {
		if t.name == name {
			p.test = &t
		}
		names = append(names, t.name)
	}
	if p.test == nil {
		meant := ""
		if n := topology.Nearest(name, names); n != "" {
			meant = fmt.Sprintf(" (did you mean %s?)", n)
		}
		p.add(Mistake{File: p.main.name, Text: fmt.Sprintf("it has no test %q%s", name, meant)})
		return
	}
	if p.test.variant != nil {
		return
	}
	// What another test needs of the machine does not concern this one.
	own := map[string]bool{}
	for _, m := range p.mentions(p.main, p.parts()) {
		own[m.at.String()] = true
	}
	p.mistakes = slices.DeleteFunc(p.mistakes, func(m Mistake) bool {
		return isUnsupported(m) && !own[fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Col)]
	})
}

// parts are the parts of the main script that a run runs.
func (p *plan) parts() (parts []syntax.Node) {
	if p.test == nil || p.test.variant != nil {
		return []syntax.Node{p.main.file}
	}
	for _, stmt := range p.main.file.Stmts {
		switch stmt.(type) {
		case *syntax.DefStmt, *syntax.LoadStmt:
		default:
			parts = append(parts, stmt)
		}
	}
	for _, name := range []string{p.test.function.name.Name, "setup", "teardown"} {
		parts = append(parts, &syntax.Ident{Name: name})
	}
	return parts
}

// runTest calls the test's function, between the script's setup and teardown.
func (p *plan) runTest(host *builtins.Host, thread *starlark.Thread, globals starlark.StringDict) error {
	around := map[string]starlark.Callable{}
	for _, name := range []string{"setup", "teardown"} {
		v, has := globals[name]
		fn, ok := v.(starlark.Callable)
		if has && !ok {
			return fmt.Errorf("%s is a value of type %s: each test calls it, a function was expected", name, v.Type())
		}
		around[name] = fn
	}
	if teardown := around["teardown"]; teardown != nil {
		host.SetTeardown(teardown)
	}
	if setup := around["setup"]; setup != nil {
		if _, err := starlark.Call(thread, setup, nil, nil); err != nil {
			return err
		}
	}
	_, err := starlark.Call(thread, globals[p.test.function.name.Name], p.test.args, p.test.kwargs)
	return err
}
