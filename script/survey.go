package script

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime/event"
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
			if name := vocabularyName(e); builtins.IsFault(name) && p.config.Builtins[name] == nil {
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

// missed is a fault that was applied, and reached nobody.
type missed struct {
	event.Fault
	why    string
	healed bool
}

// shows tells why a run that came to its end has shown nothing; "" where it has.
// The script's text names the faults that it was to do; what became of them is
// in the event log; which comparisons had nothing to compare, the host knows.
func shows(mentioned []mention, events []event.Event, host *builtins.Host) string {
	var all []*missed
	faults := map[int64]event.Fault{}
	lives := map[string]bool{}
	joins := func(link [2]string) bool { return lives[link[0]] && lives[link[1]] }
	var applied int64
	for _, e := range events {
		switch d := e.Detail.(type) {
		case event.Exited:
			lives[e.Node] = false
		case event.Forked:
			lives[e.Node] = true
			// What is in force on a link befalls whoever comes to its ends.
			all = slices.DeleteFunc(all, func(m *missed) bool {
				reached := !m.healed && slices.ContainsFunc(m.Links, joins)
				if reached {
					applied++
				}
				return reached
			})
		case event.Fault:
			faults[d.ID] = d
		case event.Healed:
			for _, m := range all {
				m.healed = m.healed || m.ID == d.ID
			}
		case event.Applied:
			f, ok := faults[d.ID]
			if !ok || !builtins.IsFault(f.What) {
				break
			}
			reached := slices.ContainsFunc(f.Links, joins)
			if len(f.Links) == 0 {
				reached = f.What == "restart" && len(f.Nodes) > 0 || slices.ContainsFunc(f.Nodes, func(n string) bool { return !slices.Contains(d.Dead, n) })
			}
			if reached {
				applied++
				break
			}
			why := strings.Join(f.Nodes, ", ") + " had exited before"
			switch {
			case len(f.Nodes) == 0:
				why = "it was given no nodes"
			case len(f.Links) > 0:
				absent := slices.DeleteFunc(slices.Clone(f.Nodes), func(n string) bool { return lives[n] })
				why = strings.Join(absent, ", ") + " did not run"
			}
			all = append(all, &missed{Fault: f, why: fmt.Sprintf("%s reached nobody: %s (event %d)", f.What, why, e.Seq)})
		}
	}
	var why []string
	if len(mentioned) > 0 && applied == 0 {
		why = append(why, fmt.Sprintf("the script has %s at %s, and no fault was applied", mentioned[0].fault, mentioned[0].at))
	}
	for _, m := range all {
		why = append(why, m.why)
	}
	if n := host.RequiredFaults(); applied < n {
		why = append(why, fmt.Sprintf("require_faults(%d) was not met: %s applied", n, counted(applied, "fault was", "faults were")))
	}
	return strings.Join(slices.Concat(why, host.Unfired(), host.Idle()), "\n")
}

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
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
