package script

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/link"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// checkLinks finds a fault of links between nodes that have none, as far as the
// text shows which nodes they are. Where it does not show that, it is a mistake if
// the fault could be done to no node at all.
func (i *inspection) checkLinks(call *syntax.CallExpr, d builtins.Doc, positional []syntax.Expr, values map[string]syntax.Expr) {
	if !slices.Contains(runtime.LinkFaults(), d.Name) || i.p.asked[d.Name] || i.catching > 0 {
		return
	}
	partial := values["partial"]
	if partial != nil && !isName(partial, "False") && !isName(partial, "True") {
		return
	}
	t := i.p.topology
	linked := func(pairs []link.Pair) error {
		_, err := runtime.LinkPlan{What: d.Name, Pairs: pairs, Partial: partial != nil && isName(partial, "True")}.Linked(t)
		return err
	}
	wrong := func(groups [][]string) error { return linked(runtime.Between(d.Name, groups, t)) }
	var groups [][]string
	known := true
	arguments := linkGroups(d.Name, positional, values)
	for _, e := range arguments {
		names, ok := i.nodesOf(e)
		groups, known = append(groups, names), known && ok
	}
	var err error
	pairs, isDict := i.pairsOf(arguments)
	switch {
	case isDict:
		err = linked(pairs)
	case known && len(groups) > 0:
		err = wrong(groups)
	case d.Name == "net.isolate" && t.IsWhole():
		for _, n := range slices.Backward(t.Nodes) {
			if err = wrong([][]string{{n.Name}}); err == nil {
				return
			}
			err = fmt.Errorf("whichever node it is: %w", err)
		}
	case !t.IsWhole(): // what is wrong may be a link
		return
	default:
		all := []string{}
		for _, n := range t.Nodes {
			all = append(all, n.Name)
		}
		_, err = runtime.LinkPlan{What: d.Name, Pairs: runtime.Across(all, all), Partial: true}.Linked(t)
	}
	if err != nil {
		pos, _ := call.Span()
		i.mistake(pos, nil, "%v", err)
	}
}

// isDirect reports whether the ini says that there are no links.
func (i *inspection) isDirect() bool {
	return i.p.topology.Settings.Links == topology.LinksDirect && i.p.topology.IsSure("dagon")
}

// linked reports whether there may be links that faults act on, as far as the ini says.
func (i *inspection) linked() bool {
	return i.p.topology.Settings.Links != topology.LinksDirect && i.p.topology.IsSure("dagon")
}

// linkGroups are the arguments of a fault of links that are nodes.
func linkGroups(name string, positional []syntax.Expr, values map[string]syntax.Expr) []syntax.Expr {
	switch name {
	case "net.partition":
		return positional
	case "net.isolate":
		return []syntax.Expr{values["nodes"]}
	}
	return []syntax.Expr{values["a"], values["b"]}
}

// pairsOf are the directions of a dict of those that each node cannot reach, where
// the text shows them.
func (i *inspection) pairsOf(arguments []syntax.Expr) (pairs []link.Pair, ok bool) {
	if len(arguments) != 1 {
		return nil, false
	}
	dict, ok := arguments[0].(*syntax.DictExpr)
	if !ok {
		return nil, false
	}
	for _, e := range dict.List {
		from, knownFrom := i.nodesOf(e.(*syntax.DictEntry).Key)
		to, knownTo := i.nodesOf(e.(*syntax.DictEntry).Value)
		if !knownFrom || !knownTo {
			return nil, false
		}
		pairs = append(pairs, runtime.Across(from, to)...)
	}
	return pairs, len(pairs) > 0
}

// checkGiven checks a fault of links that is given to a builtin which calls it, such
// as after.
func (i *inspection) checkGiven(call *syntax.CallExpr) {
	for at, arg := range call.Args {
		d, ok := i.docs[vocabularyName(arg)]
		if !ok || i.p.config.Builtins[d.Name] != nil || !slices.Contains(runtime.LinkFaults(), d.Name) {
			continue
		}
		var positional []syntax.Expr
		values := map[string]syntax.Expr{}
		for _, e := range call.Args[at+1:] {
			if named, ok := e.(*syntax.BinaryExpr); !ok || named.Op != syntax.EQ { // of the builtin itself
				positional = append(positional, e)
			}
		}
		for n, e := range positional {
			if n < len(d.Params) {
				values[d.Params[n].Name] = e
			}
		}
		i.checkLinks(call, d, positional, values)
	}
}

// nodesOf are the names of the nodes that an expression is; ok is false where its
// text alone does not show which.
func (i *inspection) nodesOf(e syntax.Expr) (names []string, ok bool) {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return i.nodesOf(e.X)
	case *syntax.ListExpr:
		return i.nodesOfAll(e.List)
	case *syntax.TupleExpr:
		return i.nodesOfAll(e.List)
	case *syntax.BinaryExpr:
		if e.Op == syntax.PLUS {
			return i.nodesOfAll([]syntax.Expr{e.X, e.Y})
		}
	case *syntax.Literal:
		if name, isText := e.Value.(string); isText {
			if n := i.p.topology.Find(name); n != nil && i.p.topology.IsSure(n.Section) {
				return []string{n.Name}, true
			}
		}
	case *syntax.IndexExpr:
		of, ok := i.nodesOf(e.X)
		at, isInt := e.Y.(*syntax.Literal)
		if !ok || !isInt {
			return nil, false
		}
		if n, isInt := at.Value.(int64); isInt && n >= 0 && n < int64(len(of)) {
			return of[n : n+1], true
		}
	case *syntax.Ident, *syntax.DotExpr:
		return i.nodesNamed(vocabularyName(e))
	}
	return nil, false
}

func (i *inspection) nodesOfAll(list []syntax.Expr) (names []string, ok bool) {
	for _, e := range list {
		more, ok := i.nodesOf(e)
		if !ok {
			return nil, false
		}
		names = append(names, more...)
	}
	return names, true
}

// nodesNamed are the nodes that a name of the vocabulary is.
func (i *inspection) nodesNamed(name string) (names []string, ok bool) {
	if i.p.config.Builtins[name] != nil {
		return nil, false
	}
	if n, isNode := i.known[name].(*nodeName); isNode {
		return []string{n.Name}, true
	}
	if g, isGroup := i.known[name].(*groupName); isGroup {
		for _, n := range g.Nodes {
			names = append(names, n.Name)
		}
		return names, true
	}
	roles := map[string]topology.Role{"leaders": topology.Leader, "workers": topology.Worker, "senders": topology.Sender,
		"receivers": topology.Receiver}
	role, isGroup := roles[name]
	if !isGroup && name != "topology.nodes" || i.known["topology"] != starlark.None || !i.p.topology.IsWhole() {
		return nil, false
	}
	for _, n := range i.p.topology.Nodes {
		if !isGroup || n.Role == role {
			names = append(names, n.Name)
		}
	}
	return names, true
}
