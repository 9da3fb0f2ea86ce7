package script

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// inspection checks what the text of one file does with the vocabulary and the
// topology.
type inspection struct {
	p       *plan
	m       *module
	known   map[string]starlark.Value
	docs    map[string]builtins.Doc
	members map[string][]string // of modules and values, by their names

	nodes  []string          // their names
	hidden map[string]string // by what a script would call them, the nodes whose name there is a builtin's

	inside    []*resolve.Function // functions that the text is in, the innermost last
	catching  int                 // how many calls of catch and assert.fails the text is in: it may fail
	called    map[*syntax.Ident]bool
	unreached bool // no run comes to the text: what is wrong with it is no mistake
	hints     int  // undefined names for which what was meant has been looked for
}

// checkText checks what the files do with the vocabulary. Wrong in a function of
// a loaded file that no run comes to is no mistake: a library may have
// functions for other topologies, and other machines.
func (p *plan) checkText(known map[string]starlark.Value) {
	docs := map[string]builtins.Doc{}
	members := map[string][]string{}
	for _, d := range builtins.Catalogue() {
		docs[d.Name] = d
		if of, member, dotted := strings.Cut(d.Name, "."); dotted {
			members[of] = append(members[of], member)
		}
	}
	var nodes []string
	hidden := map[string]string{}
	for _, n := range p.topology.Nodes {
		nodes = append(nodes, n.Name)
		if name := n.Identifier(); p.topology.IsSure(n.Section) && !slices.Contains(builtins.GroupNames(), name) {
			hidden[name] = n.Name
		}
	}
	reached := p.reached()
	for _, m := range p.modules {
		if m.file == nil || m.file.Module == nil {
			continue
		}
		i := &inspection{p: p, m: m, known: known, docs: docs, members: members, nodes: nodes, hidden: hidden,
			called: map[*syntax.Ident]bool{}}
		i.inside = []*resolve.Function{{Locals: m.file.Module.(*resolve.Module).Locals}}
		for _, stmt := range m.file.Stmts {
			def, isDef := stmt.(*syntax.DefStmt)
			if m == p.main || !isDef || reached[definition{function: def}] {
				i.inspect(stmt)
				continue
			}
			for _, value := range defaults(def) {
				i.inspect(value)
			}
			i.unreached = true
			i.inside = append(i.inside, def.Function.(*resolve.Function))
			for _, inner := range def.Body {
				i.inspect(inner)
			}
			i.inside, i.unreached = i.inside[:1], false
		}
	}
}

// inspect checks a part of the text.
func (i *inspection) inspect(part syntax.Node) {
	var inside []struct{ function, catches bool } // what the nodes are that the walk is in
	syntax.Walk(part, func(n syntax.Node) bool {
		if n == nil {
			last := len(inside) - 1
			if inside[last].function {
				i.inside = i.inside[:len(i.inside)-1]
			}
			if inside[last].catches {
				i.catching--
			}
			inside = inside[:last]
			return false
		}
		var function *resolve.Function
		catches := false
		switch n := n.(type) {
		case *syntax.DefStmt:
			function, _ = n.Function.(*resolve.Function)
		case *syntax.LambdaExpr:
			function, _ = n.Function.(*resolve.Function)
		case *syntax.Ident:
			i.checkName(n)
		case *syntax.DotExpr:
			i.checkMember(n)
		case *syntax.CallExpr:
			if fn, ok := n.Fn.(*syntax.Ident); ok {
				i.called[fn] = true
			}
			if name := vocabularyName(n.Fn); name != "" && i.p.config.Builtins[name] == nil {
				if d, ok := i.docs[name]; ok && d.Callable && d.Family != "standard" {
					i.checkCall(n, d)
				}
				catches = name == "catch" || name == "assert.fails"
				if catches {
					i.catching++
				}
				if i.linked() {
					i.checkGiven(n)
				}
			}
		}
		inside = append(inside, struct{ function, catches bool }{function != nil, catches})
		if function != nil {
			i.inside = append(i.inside, function)
		}
		return true
	})
}

// mistake adds a mistake at a place of the text, or puts it aside.
func (i *inspection) mistake(pos syntax.Position, err error, format string, args ...any) {
	switch {
	case !i.unreached && i.p.full(i.m.name):
		i.p.count[i.m.name]++
	case !i.unreached:
		i.p.add(Mistake{File: i.m.name, Line: int(pos.Line), Col: int(pos.Col), Err: err, Text: fmt.Sprintf(format, args...)})
	case len(i.m.aside) < maxMistakes:
		text := topology.Brief(fmt.Sprintf(format, args...), maxText)
		i.m.aside = append(i.m.aside, Mistake{File: i.m.name, Line: int(pos.Line), Col: int(pos.Col), Err: err, Text: text})
	}
}

// meant is what a word was meant to be, for a mistake, or "". Once nothing more is
// told of the file, it is not looked for.
func (i *inspection) meant(word, format string, words []string) string {
	if i.unreached && len(i.m.aside) == maxMistakes || !i.unreached && i.p.full(i.m.name) {
		return ""
	}
	if n := topology.Nearest(word, words); n != "" {
		return fmt.Sprintf(" (did you mean "+format+"?)", n)
	}
	return ""
}

// checkName finds a name that nobody has defined.
func (i *inspection) checkName(n *syntax.Ident) {
	b, ok := n.Binding.(*resolve.Binding)
	if !ok || b.Scope != resolve.Predeclared {
		return
	}
	if _, isKnown := i.known[n.Name]; isKnown || !i.called[n] && i.p.topology.MayDefine(n.Name) { // a node is not called
		return
	}
	meant := ""
	if i.hints++; i.hints <= maxHints {
		meant = i.meant(n.Name, "%s", i.names())
	}
	i.mistake(n.NamePos, nil, "undefined: %s%s", n.Name, meant)
}

// names are those that can be used where the text is: what the file defines, from
// the innermost function outwards, and what is given. They are no more than
// topology.Nearest looks at.
func (i *inspection) names() []string {
	given := append([]string{"True", "False", "None"}, starlark.Universe.Keys()...)
	given = slices.AppendSeq(given, maps.Keys(i.known))
	slices.Sort(given)
	var own []string
	most := max(topology.MaxWords-len(given), topology.MaxWords/2)
	add := func(bindings []*resolve.Binding) {
		for _, b := range bindings[:min(len(bindings), most-len(own))] {
			own = append(own, b.First.Name)
		}
	}
	for _, f := range slices.Backward(i.inside) {
		add(f.Locals)
	}
	add(i.m.file.Module.(*resolve.Module).Globals)
	return append(own, given...)
}

// vocabularyName is the name that an expression has in the vocabulary, "fork"
// or "random.choice"; "" where it is not one, or the file has its own of that
// name.
func vocabularyName(e syntax.Expr) string {
	switch e := e.(type) {
	case *syntax.Ident:
		if b, ok := e.Binding.(*resolve.Binding); ok && (b.Scope == resolve.Predeclared || b.Scope == resolve.Universal) {
			return e.Name
		}
	case *syntax.DotExpr:
		if _, ok := e.X.(*syntax.Ident); ok {
			if of := vocabularyName(e.X); of != "" {
				return of + "." + e.Name.Name
			}
		}
	case *syntax.ParenExpr:
		return vocabularyName(e.X)
	}
	return ""
}

// checkMember checks the attribute of a module or a node.
func (i *inspection) checkMember(n *syntax.DotExpr) {
	of := vocabularyName(n.X)
	if of == "" || i.p.config.Builtins[of] != nil {
		return
	}
	all, what := i.members[of], of
	if v, ok := i.known[of].(*nodeName); ok {
		all, what = builtins.NodeAttributes(), "the node "+v.Name
	}
	if g, ok := i.known[of].(*groupName); ok && slices.Contains(builtins.NodeAttributes(), n.Name.Name) {
		i.mistake(n.Name.NamePos, nil, "%s is the list of the nodes of [%s], which has no .%s: %s is one of them", of, g.Section,
			n.Name.Name, g.Nodes[0].Identifier())
	}
	if len(all) == 0 && slices.Contains(builtins.NodeAttributes(), n.Name.Name) {
		i.checkHidden(n.X)
	}
	if len(all) == 0 || slices.Contains(all, n.Name.Name) {
		return
	}
	meant := i.meant(n.Name.Name, "%s", all)
	if meant == "" {
		meant = fmt.Sprintf(" (it has %s)", strings.Join(all, ", "))
	}
	i.mistake(n.Name.NamePos, nil, "%s has no .%s%s", what, n.Name.Name, meant)
}

// checkCall checks the arguments of a builtin's call as far as they can be told:
// not behind *args and **kwargs.
func (i *inspection) checkCall(call *syntax.CallExpr, d builtins.Doc) {
	var positional []syntax.Expr
	var named []string
	values := map[string]syntax.Expr{}
	for _, arg := range call.Args {
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				return
			}
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				name := a.X.(*syntax.Ident).Name
				named = append(named, name)
				values[name] = a.Y
				continue
			}
		}
		positional = append(positional, arg)
	}
	position, _, err := builtins.Bind(d.Params, len(positional), named)
	if err != nil {
		pos, _ := call.Span()
		i.mistake(pos, nil, "%s: %v; it is %s", d.Name, err, d.Signature)
		return
	}
	for at, to := range position {
		values[d.Params[to].Name] = positional[at]
	}
	for _, param := range []string{"node", "nodes"} {
		if e := values[param]; e != nil && slices.ContainsFunc(d.Params, func(q builtins.Param) bool { return q.Name == param }) {
			i.checkNodes(e)
		}
	}
	for _, fault := range runtime.Faults() {
		of, parameter, dotted := strings.Cut(fault, ".")
		if of != d.Name || dotted && (values[parameter] == nil || isNone(values[parameter])) || i.p.asked[fault] {
			continue
		}
		if err := runtime.Can(i.p.config.Driver, fault); err != nil {
			pos, _ := call.Span()
			i.mistake(pos, err, "%v; a script that asks can(%q) first may run without it", err, fault)
		}
	}
	if slices.Contains(runtime.LinkFaults(), d.Name) && i.isDirect() && !i.p.asked[d.Name] {
		pos, _ := call.Span()
		i.mistake(pos, nil, "cannot do %s: [dagon] links = direct has nodes reach each other without a link that it could act on", d.Name)
	}
	if i.linked() {
		i.checkLinks(call, d, positional, values)
	}
	if d.Name == "topology.node" {
		i.checkNodes(values["name"])
	}
	if d.Name == "await_ready" || d.Name == "boot" {
		i.checkAwaited(call, d.Name, values["nodes"])
	}
	if e := values["endpoint"]; e != nil {
		i.checkEndpoint(d.Name, values["node"], e)
	}
}

// checkEndpoint finds an endpoint that is written out, and that its node does not have.
func (i *inspection) checkEndpoint(name string, node, endpoint syntax.Expr) {
	of, ok := i.nodesOf(node)
	literal, isLiteral := endpoint.(*syntax.Literal)
	if !ok || !isLiteral || i.catching > 0 {
		return
	}
	text, isText := literal.Value.(string)
	for _, of := range of {
		n := i.p.topology.Node(of)
		if n == nil || !isText {
			continue
		}
		var names []string
		for _, e := range n.Endpoints {
			names = append(names, e.Name)
		}
		if slices.Contains(names, text) {
			continue
		}
		why := i.meant(text, "%q", names)
		switch {
		case len(names) == 0:
			why = ": no key listen.NAME of its section gives it one"
		case why == "":
			why = fmt.Sprintf(" (there is %s)", strings.Join(names, ", "))
		}
		i.mistake(literal.TokenPos, nil, "%s: %s has no endpoint %q%s", name, of, text, why)
	}
}

// checkAwaited finds a node that is awaited and of which nothing says when it is ready,
// as far as the text shows which nodes they are.
func (i *inspection) checkAwaited(call *syntax.CallExpr, name string, nodes syntax.Expr) {
	names, ok := i.nodesOf(nodes)
	if !ok || i.catching > 0 {
		return
	}
	for _, of := range names {
		n := i.p.topology.Node(of)
		if n == nil || !n.Ready.IsZero() {
			continue
		}
		pos, _ := call.Span()
		i.mistake(pos, nil, "%s awaits %s, and nothing says when it is ready: [%s] at %s:%d has a command and no key "+
			"such as ready.log, ready.port or ready.http",
			name, of, n.Section, i.p.topology.Path, n.Line)
		return
	}
}

func isNone(e syntax.Expr) bool { return isName(e, "None") }

func isName(e syntax.Expr, name string) bool {
	id, ok := e.(*syntax.Ident)
	return ok && id.Name == name
}

// checkHidden finds a name that is used as a node's, and is a builtin's in scripts.
func (i *inspection) checkHidden(e syntax.Expr) {
	name, ok := e.(*syntax.Ident)
	if !ok || vocabularyName(name) == "" || i.hidden[name.Name] == "" {
		return
	}
	if _, isNode := i.known[name.Name].(*nodeName); !isNode {
		i.mistake(name.NamePos, nil, "%s is a name of the vocabulary here: the node is topology.node(%q)", name.Name, i.hidden[name.Name])
	}
}

// checkNodes checks the names of nodes that are written out.
func (i *inspection) checkNodes(e syntax.Expr) {
	switch e := e.(type) {
	case *syntax.ListExpr:
		for _, x := range e.List {
			i.checkNodes(x)
		}
	case *syntax.TupleExpr:
		for _, x := range e.List {
			i.checkNodes(x)
		}
	case *syntax.ParenExpr:
		i.checkNodes(e.X)
	case *syntax.Ident:
		i.checkHidden(e)
	case *syntax.Literal:
		name, ok := e.Value.(string)
		if !ok || i.p.topology.Find(name) != nil || i.p.topology.MayDefine(name) {
			return
		}
		i.mistake(e.TokenPos, nil, "no node is named %q%s", name, i.meant(name, "%q", i.nodes))
	}
}
