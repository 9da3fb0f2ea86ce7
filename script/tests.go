package script

import (
	"errors"
	"fmt"
	"maps"
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
func Tests(c Config) ([]string, error) {
	c.Test = ""
	p, err := prepare(c)
	if err != nil {
		return nil, err
	}
	tests := p.tests()
	if mistakes := slices.DeleteFunc(p.found(), isUnsupported); len(mistakes) > 0 {
		return nil, mistakes
	}
	names := []string{}
	for _, t := range tests {
		names = append(names, t.name)
	}
	if len(names) == 0 && p.main.acts() {
		names = append(names, "")
	}
	return names, nil
}

// Test makes a subtest of go test of each test of a script, and runs it. One that
// this machine cannot do is skipped, an inconclusive one fails. Runs are kept
// with the test's artifacts, unless c says where.
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

// IsUnsupported tells whether a run was not started, or ended, only because this
// machine cannot do a fault.
func IsUnsupported(err error) bool {
	var mistakes Mistakes
	if errors.As(err, &mistakes) {
		return !slices.ContainsFunc(mistakes, func(m Mistake) bool { return !isUnsupported(m) })
	}
	var unsupported *runtime.UnsupportedError
	return errors.As(err, &unsupported)
}

func isUnsupported(m Mistake) bool {
	var unsupported *runtime.UnsupportedError
	return errors.As(m.Err, &unsupported)
}

// test is one test of a script.
type test struct {
	name     string
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
		return
	}
	for _, b := range p.main.file.Module.(*resolve.Module).Globals {
		if name := b.First.Name; strings.HasPrefix(name, testPrefix) && byName[name].def == nil {
			p.mistake(b.First.NamePos, "%s has the name of a test, and is no function that def defines at the top level: write def %[1]s(): …, or give it another name", name)
		}
	}
	for _, stmt := range p.main.file.Stmts {
		switch s := stmt.(type) {
		case *syntax.AssignStmt:
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

// isData tells whether an expression shows that its value is no function.
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

// misfit says why a test's function cannot be called with its arguments, "" where
// it can.
func (t *test) misfit() string {
	var params []builtins.Param
	for _, param := range t.function.def.Params {
		switch e := param.(type) {
		case *syntax.Ident:
			params = append(params, builtins.Param{Name: e.Name})
		case *syntax.BinaryExpr:
			params = append(params, builtins.Param{Name: e.X.(*syntax.Ident).Name, Optional: true})
		default: // *args, **kwargs
			return ""
		}
	}
	var named []string
	for _, kv := range t.kwargs {
		named = append(named, string(kv[0].(starlark.String)))
	}
	if _, _, err := builtins.Bind(params, len(t.args), named); err != nil {
		return fmt.Sprintf("%v; a test's arguments are in cases", err)
	}
	return ""
}

// maxCaseSteps bounds the computation of cases.
const maxCaseSteps = 10_000_000

// cases reads the table of that name, by the names of functions.
func (p *plan) cases(functions map[string]testFunction) map[string][]test {
	at, table := p.constant("cases")
	if table == nil {
		return nil
	}
	dict, ok := table.(*starlark.Dict)
	if !ok {
		p.mistake(at, "cases is a %s: a dict of lists by the names of test functions was expected", table.Type())
		return nil
	}
	all := map[string][]test{}
	for _, item := range dict.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok || functions[name].def == nil {
			meant := ""
			if n := topology.Nearest(name, slices.Sorted(maps.Keys(functions))); n != "" {
				meant = fmt.Sprintf(" (did you mean %s?)", n)
			}
			p.mistake(at, "cases has %s, and no function of that name is a test%s", item[0], meant)
			continue
		}
		seen := map[string]int{}
		add := func(label string, v starlark.Value) {
			t := test{name: fmt.Sprintf("%s[%s]", name, topology.Brief(label, maxLabel))}
			if seen[t.name]++; seen[t.name] > 1 {
				t.name = fmt.Sprintf("%s#%d", t.name, seen[t.name])
			}
			switch v := v.(type) {
			case *starlark.Dict:
				t.kwargs = v.Items()
			case starlark.Tuple:
				t.args = v
			default:
				t.args = starlark.Tuple{v}
			}
			for _, kv := range t.kwargs {
				if _, ok := kv[0].(starlark.String); !ok {
					p.mistake(at, "cases: %s has %s where the name of a parameter was expected", t.name, kv[0])
					return
				}
			}
			all[name] = append(all[name], t)
		}
		switch v := item[1].(type) {
		case *starlark.Dict:
			for _, named := range v.Items() {
				add(plain(named[0]), named[1])
			}
		case *starlark.List:
			for element := range v.Elements() {
				add(label(element), element)
			}
		default:
			p.mistake(at, "cases: %s has a %s: a list of cases was expected", name, v.Type())
		}
		if all[name] == nil {
			p.mistake(at, "cases: %s has none, so that it would never be run", name)
		}
	}
	return all
}

// maxLabel is how much of a case's arguments is in its name, in bytes.
const maxLabel = 80

// label names a case by its arguments.
func label(v starlark.Value) string {
	var words []string
	switch v := v.(type) {
	case *starlark.Dict:
		for _, item := range v.Items() {
			words = append(words, plain(item[0])+"="+plain(item[1]))
		}
	case starlark.Tuple:
		for _, element := range v {
			words = append(words, plain(element))
		}
	default:
		words = append(words, plain(v))
	}
	return strings.Join(words, ",")
}

func plain(v starlark.Value) string {
	if s, ok := starlark.AsString(v); ok {
		return s
	}
	return v.String()
}

// constant is the value that the main script gives a name at its top level, nil
// where it gives none. It may be made of constants that are defined before it,
// and of the language's own functions.
func (p *plan) constant(name string) (at syntax.Position, v starlark.Value) {
	file, err := dialect.Parse(p.main.name, p.main.text(), 0) // again: to resolve a file changes it
	if err != nil {
		return at, nil
	}
	made := map[string]bool{}
	part := &syntax.File{Path: file.Path, Options: file.Options}
	found := false
	for _, stmt := range file.Stmts {
		assign, ok := stmt.(*syntax.AssignStmt)
		if !ok || assign.Op != syntax.EQ {
			continue
		}
		to, ok := assign.LHS.(*syntax.Ident)
		if !ok {
			continue
		}
		foreign := ""
		bound := map[string]bool{}
		syntax.Walk(assign.RHS, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.ForClause:
				syntax.Walk(n.Vars, func(n syntax.Node) bool {
					if id, ok := n.(*syntax.Ident); ok {
						bound[id.Name] = true
					}
					return true
				})
			case *syntax.LambdaExpr:
				foreign = "a lambda"
			}
			return true
		})
		syntax.Walk(assign.RHS, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Ident:
				if _, universal := starlark.Universe[n.Name]; !universal && !made[n.Name] && !bound[n.Name] && foreign == "" {
					foreign = n.Name
				}
			}
			return true
		})
		if to.Name == name {
			if at, found = to.NamePos, true; foreign != "" {
				p.mistake(at, "%s has %s, which is not known before a run: it is to be made of constants", name, foreign)
				return at, nil
			}
		}
		if foreign == "" {
			made[to.Name] = true
			part.Stmts = append(part.Stmts, stmt)
		}
	}
	if !found {
		return at, nil
	}
	program, err := starlark.FileProgram(part, func(string) bool { return false })
	if err != nil {
		p.mistake(at, "%s cannot be made: %v", name, err)
		return at, nil
	}
	thread := &starlark.Thread{Name: name, Print: func(*starlark.Thread, string) {}}
	thread.SetMaxExecutionSteps(maxCaseSteps)
	globals, err := program.Init(thread, nil)
	if err != nil {
		p.mistake(at, "%s cannot be made: %v", name, err)
		return at, nil
	}
	globals.Freeze()
	return at, globals[name]
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
	if p.test == nil {
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
