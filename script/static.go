package script

import (
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
)

// definition is what a name at the top level of a file stands for: a function
// there, or what the file loads under it.
type definition struct {
	function *syntax.DefStmt // nil where it is loaded
	of       *module         // that it is loaded from
	name     string          // in that file
}

// definitions are what a name at the top level of a file may stand for.
func (m *module) definitions(name string) []definition {
	if m.named == nil && m.file != nil {
		m.named = map[string][]definition{}
		for _, stmt := range m.file.Stmts {
			switch s := stmt.(type) {
			case *syntax.DefStmt:
				m.named[s.Name.Name] = append(m.named[s.Name.Name], definition{function: s})
			case *syntax.LoadStmt:
				if of := m.loads[s.ModuleName()]; of != nil {
					for i, to := range s.To {
						m.named[to.Name] = append(m.named[to.Name], definition{of: of, name: s.From[i].Name})
					}
				}
			}
		}
	}
	return m.named[name]
}

// isFunction reports whether a name at the top level of a file may stand for a
// function that def defines, there or where it is loaded from.
func (m *module) isFunction(name string) bool {
	seen := map[definition]bool{}
	for next := []definition{{of: m, name: name}}; len(next) > 0; next = next[1:] {
		for _, d := range next[0].of.definitions(next[0].name) {
			if d.function != nil {
				return true
			}
			if !seen[d] {
				seen[d] = true
				next = append(next, d)
			}
		}
	}
	return false
}

// reach calls visit with every node of the text that a run can come to from
// parts of a file: of the parts themselves, and of each function at the top
// level of this file or of one that it loads, if text that is visited names it.
// Whoever names a function may call it. What is in seen is not visited again.
func (m *module) reach(parts []syntax.Node, seen map[definition]bool, visit func(syntax.Node)) {
	type text struct {
		of   *module
		node syntax.Node
	}
	var next []text
	for _, part := range parts {
		next = append(next, text{m, part})
	}
	var follow func(d definition)
	follow = func(d definition) {
		if seen[d] {
			return
		}
		seen[d] = true
		for _, to := range d.of.definitions(d.name) {
			switch {
			case to.function == nil:
				follow(to)
			case !seen[to]:
				seen[to] = true
				next = append(next, text{d.of, to.function})
			}
		}
	}
	for ; len(next) > 0; next = next[1:] {
		of := next[0].of
		syntax.Walk(next[0].node, func(n syntax.Node) bool {
			switch n := n.(type) {
			case nil, *syntax.LoadStmt: // which names what it does not call
				return false
			case *syntax.Ident:
				follow(definition{of: of, name: n.Name})
			}
			visit(n)
			return true
		})
	}
}

// reached are the functions at the top level of files that a run can come to,
// whichever test it is of.
func (p *plan) reached() map[definition]bool {
	seen := map[definition]bool{}
	for _, m := range p.modules {
		var parts []syntax.Node
		if m.file == nil {
			continue
		}
		for _, stmt := range m.file.Stmts {
			switch s := stmt.(type) {
			case *syntax.LoadStmt:
				for _, to := range s.To {
					if m == p.main && (strings.HasPrefix(to.Name, testPrefix) || to.Name == "setup" || to.Name == "teardown") {
						parts = append(parts, to)
					}
				}
			case *syntax.DefStmt:
				if m == p.main {
					parts = append(parts, s)
				} else {
					parts = append(parts, defaults(s)...)
				}
			default:
				parts = append(parts, s)
			}
		}
		m.reach(parts, seen, func(syntax.Node) {})
	}
	return seen
}

// defaults are the default values of a function's parameters: they are made where
// the function is defined, whether or not anybody calls it.
func defaults(def *syntax.DefStmt) (values []syntax.Node) {
	for _, param := range def.Params {
		if p, ok := param.(*syntax.BinaryExpr); ok {
			values = append(values, p.Y)
		}
	}
	return values
}

// acts reports whether the top level of a file does more than to define things.
// A statement other than an assignment does. An assignment, or the default value
// of a parameter, does if it calls what may do more than to compute a value; see
// callActs.
func (m *module) acts() bool {
	if m.file == nil {
		return false
	}
	var values []syntax.Node
	for _, stmt := range m.file.Stmts {
		switch s := stmt.(type) {
		case *syntax.LoadStmt, *syntax.BranchStmt: // pass
		case *syntax.DefStmt:
			values = append(values, defaults(s)...)
		case *syntax.AssignStmt:
			values = append(values, s)
		case *syntax.ExprStmt:
			if _, isText := s.X.(*syntax.Literal); !isText {
				return true
			}
		default:
			return true
		}
	}
	acts, harmless := false, harmlessNames()
	seen := map[definition]bool{} // by calls that do not act
	for _, value := range values {
		syntax.Walk(value, func(n syntax.Node) bool {
			call, isCall := n.(*syntax.CallExpr)
			acts = acts || isCall && m.callActs(call, harmless, seen)
			_, isLambda := n.(*syntax.LambdaExpr) // which is not called here
			return !acts && !isLambda
		})
	}
	return acts
}

// callActs reports whether a call at the top level of a file may do more than to
// compute a value. Harmless builtins and the methods of the language's own values
// do not; nor does a function whose text, with all that a run can come to from
// there, has none but harmless builtins. All else may.
func (m *module) callActs(call *syntax.CallExpr, harmless map[string]bool, seen map[definition]bool) bool {
	if name := vocabularyName(call.Fn); name != "" {
		return !harmless[name]
	}
	switch fn := call.Fn.(type) {
	case *syntax.DotExpr:
		return !harmless["."+fn.Name.Name]
	case *syntax.Ident:
		if !m.isFunction(fn.Name) {
			return true
		}
		acts := false
		m.reach([]syntax.Node{call}, seen, func(n syntax.Node) {
			switch n := n.(type) {
			case *syntax.CallExpr:
				name := vocabularyName(n.Fn)
				acts = acts || name != "" && !harmless[name]
			case *syntax.Ident, *syntax.DotExpr: // it may be called under another name
				is, isBuiltin := harmless[vocabularyName(n.(syntax.Expr))]
				acts = acts || isBuiltin && !is
			}
		})
		return acts
	}
	return true
}

// harmlessNames are the builtins, true if they only compute a value, and with a
// dot before them the methods of the language's own values.
func harmlessNames() map[string]bool {
	harmless := map[string]bool{}
	for name := range starlark.Universe {
		harmless[name] = name != "print" && name != "fail"
	}
	for _, d := range builtins.Catalogue() {
		switch d.Family {
		default:
			harmless[d.Name] = d.Name == "param" || d.Name == "can"
		case "chance", "values":
			harmless[d.Name] = true
		case "standard":
			harmless[d.Name] = true
			if module, ok := builtins.Vocabulary()[d.Name].(starlark.HasAttrs); ok {
				for _, name := range module.AttrNames() {
					harmless[d.Name+"."+name] = true
				}
			}
		}
	}
	for _, v := range []starlark.HasAttrs{starlark.String(""), starlark.Bytes(""), &starlark.List{}, &starlark.Dict{}, &starlark.Set{}} {
		for _, name := range v.AttrNames() {
			harmless["."+name] = true
		}
	}
	return harmless
}
