package script

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

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

// checkCasesChange finds what changes cases after it was made, or makes it in a branch:
// the tests are known before anything of that is run.
func (p *plan) checkCasesChange() {
	isCases := func(e syntax.Expr) (at syntax.Position, is bool) {
		for {
			switch x := e.(type) {
			case *syntax.IndexExpr:
				e = x.X
			case *syntax.Ident:
				b, _ := x.Binding.(*resolve.Binding)
				return x.NamePos, x.Name == "cases" && b != nil && b.Scope == resolve.Global
			default:
				return at, false
			}
		}
	}
	changes := []string{"append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
	top := map[syntax.Node]bool{}
	for _, stmt := range p.main.file.Stmts {
		if assign, ok := stmt.(*syntax.AssignStmt); ok && assign.Op == syntax.EQ {
			_, isName := assign.LHS.(*syntax.Ident)
			top[assign] = isName
		}
	}
	syntax.Walk(p.main.file, func(n syntax.Node) bool {
		var changed syntax.Expr
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if !top[n] {
				changed = n.LHS
			}
		case *syntax.CallExpr:
			if dot, ok := n.Fn.(*syntax.DotExpr); ok && slices.Contains(changes, dot.Name.Name) {
				changed = dot.X
			}
		}
		if at, is := isCases(changed); changed != nil && is {
			p.mistake(at, "cases is changed here, which no test comes from: the tests are known before the script is run; "+
				"make it whole where it is assigned")
		}
		return true
	})
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

// plain is a value in a case's name: a string as it is, unless it is more than a
// line, or cannot be seen.
func plain(v starlark.Value) string {
	if s, ok := starlark.AsString(v); ok && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) {
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
