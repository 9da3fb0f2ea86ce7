package script

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// dialect is the language of scripts: Starlark with what its default leaves
// out.
var dialect = syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}

// Check finds every mistake that can be found without forking anything: in the
// script and what it loads, its calls of builtins, the ini, and the programs
// that it names. The error is Mistakes, or one of reading; nil where there is
// nothing to be found. Of each file a hundred mistakes are told, each in at most
// 400 bytes, and the number of the others.
//
// A file of a script may have 4 MiB. Beyond 1 MiB, Check allocates at most 512
// bytes for each byte of them, and beside that what topology.Parse does.
func Check(c Config) error {
	p, err := prepare(c)
	if err != nil {
		return err
	}
	if mistakes := p.found(); len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

// module is a file of a script, read and resolved.
type module struct {
	source
	file    *syntax.File
	program *starlark.Program
	loads   map[string]*module // by what load says

	exported  map[string]bool            // names that can be loaded; nil until one is
	functions map[string]*syntax.DefStmt // at the top level; nil until one is looked for
}

// read reads the main script and all that it loads, and checks them.
func (p *plan) read(main *source) {
	known := p.names()
	byKey := map[string]*module{}
	p.main = p.readModule(main, known, byKey, nil)
	for _, m := range p.modules {
		p.survey(m)
	}
	for _, m := range p.modules {
		p.checkModule(m, known)
	}
	p.checkTestNames()
}

// names are the names that scripts of the plan can use, each with what is known
// of it; nil where the ini cannot be read, so that nobody knows.
func (p *plan) names() map[string]starlark.Value {
	if p.topology == nil {
		return nil
	}
	vocabulary := builtins.Vocabulary()
	for name, v := range p.config.Builtins {
		vocabulary[name] = v
	}
	names := map[string]starlark.Value{}
	builtins.Globals(p.topology, vocabulary, func(name string, n *topology.Node) { names[name] = (*nodeName)(n) })
	for name, v := range vocabulary {
		names[name] = v
	}
	for _, name := range builtins.GroupNames() {
		names[name] = starlark.None
	}
	return names
}

// nodeName stands for a node while a script is checked.
type nodeName topology.Node

func (n *nodeName) String() string        { return n.Name }
func (n *nodeName) Type() string          { return "node" }
func (n *nodeName) Freeze()               {}
func (n *nodeName) Truth() starlark.Bool  { return true }
func (n *nodeName) Hash() (uint32, error) { return 0, errors.New("unhashable") }

func (p *plan) mistake(pos syntax.Position, format string, args ...any) {
	if p.full(pos.Filename()) {
		p.count[pos.Filename()]++
		return
	}
	p.add(Mistake{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col), Text: fmt.Sprintf(format, args...)})
}

// readModule reads a file and what it loads. chain is what led to it.
func (p *plan) readModule(s *source, known map[string]starlark.Value, byKey map[string]*module, chain []*module) *module {
	m := &module{source: *s, loads: map[string]*module{}}
	byKey[s.key] = m
	p.modules = append(p.modules, m)
	p.parse(m, known)
	if m.file == nil {
		return m
	}
	chain = append(chain, m)
	for _, stmt := range m.file.Stmts {
		if load, ok := stmt.(*syntax.LoadStmt); ok {
			p.load(m, load, known, byKey, chain)
		}
	}
	return m
}

// parse reads, resolves and compiles a file.
func (p *plan) parse(m *module, known map[string]starlark.Value) {
	if text := unreadable(m.data); text != "" {
		p.add(Mistake{File: m.name, Text: text})
		return
	}
	var broken syntax.Error
	options := dialect
	// What the main script loads is as its own, for setup and tests; nobody loads it.
	options.LoadBindsGlobally = len(p.modules) == 1
	file, err := options.Parse(m.name, m.data, 0)
	switch {
	case errors.As(err, &broken):
		p.mistake(broken.Pos, "%s", broken.Msg)
		return
	case err != nil:
		p.add(Mistake{File: m.name, Text: err.Error()})
		return
	}
	if pos, deep := tooDeep(file); deep {
		p.mistake(pos, "nested or chained over %d deep", maxNesting)
		return
	}
	m.file = file
	// The resolver looks for what every undefined name was meant to be among all
	// names of the file: after a few, the others are found here.
	undefined := 0
	isKnown := func(name string) bool {
		if _, ok := known[name]; ok || known == nil {
			return true
		}
		undefined++
		return undefined > maxHints
	}
	m.program, err = starlark.FileProgram(file, isKnown)
	var unresolved resolve.ErrorList
	switch {
	case errors.As(err, &unresolved):
		for _, e := range unresolved {
			if !p.full(m.name) {
				p.mistake(e.Pos, "%s%s", e.Msg, hint(e.Msg, known))
				continue
			}
			p.count[m.name]++
		}
	case err != nil:
		p.add(Mistake{File: m.name, Text: err.Error()})
	}
	if undefined > maxHints {
		syntax.Walk(file, func(n syntax.Node) bool {
			if id, ok := n.(*syntax.Ident); ok {
				if b, ok := id.Binding.(*resolve.Binding); ok && b.Scope == resolve.Predeclared && known[id.Name] == nil {
					p.mistake(id.NamePos, "undefined: %s", id.Name)
				}
			}
			return true
		})
	}
}

// What is checked before the packages of the language recurse over it, or take
// time that grows with its square.
const (
	maxNesting = 5000    // of expressions and statements; the parser's own limit is below, but for chains such as a + b + c
	maxClauses = 1000    // for and if of a comprehension
	maxDigits  = 100_000 // in a row
	maxHints   = 10      // undefined names for which the resolver looks for what was meant
)

// unreadable says what is wrong with a text that the parser takes too long for,
// or stops in without a word; "" where nothing is.
func unreadable(data []byte) string {
	if len(data) > maxScript {
		return fmt.Sprintf("over %d MiB: no script", maxScript>>20)
	}
	line, digits := 1, 0
	for _, c := range data {
		if digits++; c < '0' || c > '9' {
			digits = 0
		}
		switch c {
		case '\n':
			line++
		case 0: // to the parser the end of the file
			return fmt.Sprintf("line %d has a NUL byte", line)
		}
		if digits > maxDigits {
			return fmt.Sprintf("line %d has over %d digits in a row", line, maxDigits)
		}
	}
	return ""
}

// tooDeep finds what is nested too deep. It does not go further, nor does it ask
// for the span of such a node, which is that of its innermost one.
func tooDeep(file *syntax.File) (at syntax.Position, found bool) {
	depth := 0
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return false
		}
		many := false
		if c, ok := n.(*syntax.Comprehension); ok {
			many = len(c.Clauses) > maxClauses
		}
		if found || many || depth >= maxNesting {
			if !found {
				at, found = position(n, file.Path), true
			}
			return false
		}
		depth++
		return true
	})
	return at, found
}

// position is a place in a node.
func position(n syntax.Node, file string) syntax.Position {
	switch n := n.(type) {
	case *syntax.BinaryExpr:
		return n.OpPos
	case *syntax.DotExpr:
		return n.Dot
	case *syntax.CallExpr:
		return n.Lparen
	case *syntax.IndexExpr:
		return n.Lbrack
	case *syntax.SliceExpr:
		return n.Lbrack
	case *syntax.IfStmt:
		return n.If
	case *syntax.Ident:
		return n.NamePos
	case *syntax.Literal:
		return n.TokenPos
	case *syntax.Comprehension:
		return n.Lbrack
	}
	return syntax.MakePosition(&file, 0, 0)
}

// hint is what an undefined name was meant to be, where the resolver has not
// said so.
func hint(text string, known map[string]starlark.Value) string {
	name, undefined := strings.CutPrefix(text, "undefined: ")
	if !undefined || strings.Contains(name, " ") {
		return ""
	}
	names := []string{"True", "False", "None"}
	for n := range known {
		names = append(names, n)
	}
	for n := range starlark.Universe {
		names = append(names, n)
	}
	slices.Sort(names)
	if n := topology.Nearest(name, names); n != "" {
		return fmt.Sprintf(" (did you mean %s?)", n)
	}
	return ""
}

// load reads what a load statement loads.
func (p *plan) load(m *module, load *syntax.LoadStmt, known map[string]starlark.Value, byKey map[string]*module, chain []*module) {
	name := load.ModuleName()
	pos, _ := load.Module.Span()
	var s *source
	kept := p.config.kept
	shipped := func() *source {
		if known := byKey["shipped:"+name]; known != nil {
			return &known.source
		}
		if kept != nil {
			return kept.loads["shipped:"+name]
		}
		return openShipped(name)
	}
	if m.shipped {
		s = shipped()
	} else {
		path := name
		if !filepath.IsAbs(name) {
			path = filepath.Join(filepath.Dir(m.name), name)
		}
		key, _ := filepath.Abs(path)
		switch known := byKey[key]; {
		case known != nil:
			s = &known.source
		case kept != nil:
			s = kept.loads[key]
		default:
			s, _ = open(path)
		}
		if s == nil {
			s = shipped()
		}
	}
	if s == nil && kept != nil {
		p.mistake(pos, "cannot load %q: the recipe does not have it", name)
		return
	}
	if s == nil {
		p.mistake(pos, "cannot load %q: there is no such file beside %s, and no shipped one", name, m.name)
		return
	}
	for i, above := range chain {
		if above.key == s.key {
			var names []string
			for _, c := range append(chain[i:], above) {
				names = append(names, c.name)
			}
			p.mistake(pos, "load goes in a circle: %s", strings.Join(names, " loads "))
			return
		}
	}
	next := byKey[s.key]
	if next == nil {
		next = p.readModule(s, known, byKey, chain)
	}
	m.loads[name] = next
	if next.file == nil || next.file.Module == nil {
		return
	}
	if next.exported == nil {
		next.exported = map[string]bool{}
		for _, b := range next.file.Module.(*resolve.Module).Globals {
			if name := b.First.Name; !strings.HasPrefix(name, "_") {
				next.exported[name] = true
			}
		}
	}
	for _, from := range load.From {
		switch {
		case strings.HasPrefix(from.Name, "_"):
			p.mistake(from.NamePos, "%s cannot be loaded: a name that begins with _ is its file's own", from.Name)
		case !next.exported[from.Name]:
			meant := ""
			if !p.full(m.name) {
				if n := topology.Nearest(from.Name, slices.Sorted(maps.Keys(next.exported))); n != "" {
					meant = fmt.Sprintf(" (did you mean %s?)", n)
				}
			}
			p.mistake(from.NamePos, "%s has no %s%s", next.name, from.Name, meant)
		}
	}
}

// checkModule checks what a file does with the vocabulary.
func (p *plan) checkModule(m *module, known map[string]starlark.Value) {
	if m.file == nil || m.file.Module == nil || known == nil {
		return
	}
	docs := map[string]builtins.Doc{}
	members := map[string][]string{}
	for _, d := range builtins.Catalogue() {
		docs[d.Name] = d
		if of, member, dotted := strings.Cut(d.Name, "."); dotted {
			members[of] = append(members[of], member)
		}
	}
	syntax.Walk(m.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DotExpr:
			p.checkMember(n, known, members)
		case *syntax.CallExpr:
			if name := vocabularyName(n.Fn); name != "" && p.config.Builtins[name] == nil {
				if d, ok := docs[name]; ok && d.Callable && d.Family != "standard" {
					p.checkCall(n, d)
				}
			}
		}
		return true
	})
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

func (p *plan) checkMember(n *syntax.DotExpr, known map[string]starlark.Value, members map[string][]string) {
	of := vocabularyName(n.X)
	if of == "" || p.config.Builtins[of] != nil {
		return
	}
	all, what := members[of], of
	if v, ok := known[of].(*nodeName); ok {
		all, what = builtins.NodeAttributes(), "the node "+v.Name
	}
	if len(all) == 0 || slices.Contains(all, n.Name.Name) {
		return
	}
	meant := fmt.Sprintf(" (it has %s)", strings.Join(all, ", "))
	if nearest := topology.Nearest(n.Name.Name, all); nearest != "" {
		meant = fmt.Sprintf(" (did you mean %s?)", nearest)
	}
	p.mistake(n.Name.NamePos, "%s has no .%s%s", what, n.Name.Name, meant)
}

// checkCall checks the arguments of a builtin's call as far as they can be told:
// not behind *args and **kwargs.
func (p *plan) checkCall(call *syntax.CallExpr, d builtins.Doc) {
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
		p.mistake(pos, "%s: %v; it is %s", d.Name, err, d.Signature)
		return
	}
	for i, to := range position {
		values[d.Params[to].Name] = positional[i]
	}
	for _, param := range []string{"node", "nodes"} {
		if e := values[param]; e != nil && slices.ContainsFunc(d.Params, func(q builtins.Param) bool { return q.Name == param }) {
			p.checkNodes(e)
		}
	}
	for _, fault := range runtime.Faults() {
		of, parameter, dotted := strings.Cut(fault, ".")
		if of != d.Name || dotted && (values[parameter] == nil || isNone(values[parameter])) || p.asked[fault] {
			continue
		}
		if err := runtime.Can(p.config.Driver, fault); err != nil {
			pos, _ := call.Span()
			p.add(Mistake{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col), Err: err,
				Text: fmt.Sprintf("%v; a script that asks can(%q) first may run without it", err, fault)})
		}
	}
	if slices.Contains(runtime.LinkFaults(), d.Name) && p.topology.Settings.Links == topology.LinksDirect && !p.asked[d.Name] {
		pos, _ := call.Span()
		p.mistake(pos, "cannot do %s: [dagon] links = direct has nodes reach each other without a link that it could act on", d.Name)
	}
	if d.Name == "topology.node" {
		p.checkNodes(values["name"])
	}
}

func isNone(e syntax.Expr) bool {
	name, ok := e.(*syntax.Ident)
	return ok && name.Name == "None"
}

// checkNodes checks the names of nodes that are written out.
func (p *plan) checkNodes(e syntax.Expr) {
	switch e := e.(type) {
	case *syntax.ListExpr:
		for _, x := range e.List {
			p.checkNodes(x)
		}
	case *syntax.TupleExpr:
		for _, x := range e.List {
			p.checkNodes(x)
		}
	case *syntax.ParenExpr:
		p.checkNodes(e.X)
	case *syntax.Literal:
		name, ok := e.Value.(string)
		if !ok {
			return
		}
		if p.topology.Find(name) != nil {
			return
		}
		meant := ""
		if !p.full(e.TokenPos.Filename()) {
			var names []string
			for _, n := range p.topology.Nodes {
				names = append(names, n.Name)
			}
			if n := topology.Nearest(name, names); n != "" {
				meant = fmt.Sprintf(" (did you mean %q?)", n)
			}
		}
		p.mistake(e.TokenPos, "no node is named %q%s", name, meant)
	}
}
