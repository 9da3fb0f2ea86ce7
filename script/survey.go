package script

import (
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// survey finds what a file's text says of the run: which faults it asks for with
// can, so that it knows what to do where one cannot be done, and whether it
// refers to the links between nodes.
func (p *plan) survey(m *module) {
	if m.file == nil || m.file.Module == nil {
		return
	}
	syntax.Walk(m.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Ident:
			if vocabularyName(n) == "net" {
				p.usesLinks = true
			}
		case *syntax.CallExpr:
			if vocabularyName(n.Fn) != "can" || len(n.Args) != 1 {
				break
			}
			if name, ok := n.Args[0].(*syntax.Literal); ok {
				if fault, ok := name.Value.(string); ok {
					p.asked[fault] = true
				}
			}
		}
		return true
	})
}

// mention is a place in a script's text that names a fault.
type mention struct {
	fault string
	at    syntax.Position
}

// mentions finds the first fault that each text names that a run can come to:
// the given parts of a file, and the functions at the top level of it and of
// what it loads that these name, or that those name.
func (p *plan) mentions(m *module, parts []syntax.Node) (found []mention) {
	seen := map[*syntax.DefStmt]bool{}
	var look func(m *module, part syntax.Node)
	follow := func(m *module, name string) {
		for depth := 0; m != nil && m.file != nil && depth < len(p.modules); depth++ {
			var next *module
			for _, stmt := range m.file.Stmts {
				switch s := stmt.(type) {
				case *syntax.DefStmt:
					if s.Name.Name == name && !seen[s] {
						seen[s] = true
						look(m, s)
					}
				case *syntax.LoadStmt:
					for i, to := range s.To {
						if to.Name == name {
							next, name = m.loads[s.ModuleName()], s.From[i].Name
						}
					}
				}
			}
			m = next
		}
	}
	look = func(m *module, part syntax.Node) {
		syntax.Walk(part, func(n syntax.Node) bool {
			e, isExpr := n.(syntax.Expr)
			if !isExpr {
				return true
			}
			if name := vocabularyName(e); builtins.IsFault(name, "") && p.config.Builtins[name] == nil {
				pos, _ := e.Span()
				found = append(found, mention{name, pos})
			}
			if id, ok := n.(*syntax.Ident); ok {
				follow(m, id.Name)
			}
			return true
		})
	}
	for _, part := range parts {
		look(m, part)
	}
	return found
}

// unused returns the first fault that the script's text names, where a run that came
// to its end had faults to do by its text and none was applied; else nil.
func (p *plan) unused(faults fault.Ledger) *mention {
	named := p.mentions(p.main, p.parts())
	applied := slices.ContainsFunc(faults.Records(), func(r *fault.Record) bool { return r.Applied })
	if len(named) == 0 || applied || faults.CutShort() {
		return nil
	}
	return &named[0]
}

// faultIn is the name of the first fault in a function's own text, "" where it has none.
// The text of the functions that are defined in it is its own, that of those which it
// calls is not.
func (p *plan) faultIn(fn *starlark.Function) string {
	if p.faulty == nil {
		p.faulty = map[string]string{}
		for _, m := range p.modules {
			if m.file != nil {
				p.findFaulty(m.file)
			}
		}
	}
	return p.faulty[fn.Position().String()]
}

func (p *plan) findFaulty(file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		var at syntax.Position
		switch n := n.(type) {
		case *syntax.DefStmt:
			at = n.Def
		case *syntax.LambdaExpr:
			at = n.Lambda
		default:
			return true
		}
		p.faulty[at.String()] = p.ownFault(n)
		return true
	})
}

// ownFault is the first fault in the text of one function. A call of kill or signal
// whose text has a signal that does no harm is none.
func (p *plan) ownFault(fn syntax.Node) (name string) {
	harmless := map[syntax.Expr]bool{}
	syntax.Walk(fn, func(n syntax.Node) bool {
		if e, ok := n.(*syntax.CallExpr); ok {
			harmless[e.Fn] = !builtins.IsFault(vocabularyName(e.Fn), signalOf(e))
		}
		if e, ok := n.(syntax.Expr); ok && name == "" && !harmless[e] {
			if v := vocabularyName(e); builtins.IsFault(v, "") && p.config.Builtins[v] == nil {
				name = v
			}
		}
		return true
	})
	return name
}

// signalOf is the signal that the text of a call of kill or signal has, or "".
func signalOf(call *syntax.CallExpr) string {
	var signal syntax.Expr
	if len(call.Args) > 1 {
		signal = call.Args[1]
	}
	for _, arg := range call.Args {
		if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
			if name := named.X.(*syntax.Ident); name.Name == "signal" {
				signal = named.Y
			}
		}
	}
	if text, ok := signal.(*syntax.Literal); ok {
		s, _ := text.Value.(string)
		return s
	}
	return ""
}

// linksOf settles what links = auto means: relays where the script's text refers
// to what is done to them.
func (p *plan) linksOf(links string) string {
	switch {
	case links != topology.LinksAuto:
		return links
	case p.usesLinks:
		return topology.LinksProxy
	}
	return topology.LinksDirect
}
