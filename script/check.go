package script

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/builtins"
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
	_, err := Review(c)
	return err
}

// Review is Check, and tells besides what is worth a notice: what a run would
// begin with, in the same words and order, and what is wrong in functions of
// loaded files that no run comes to, which is no mistake. There are notices
// beside mistakes too.
func Review(c Config) (notices []string, err error) {
	p, err := prepare(c)
	if err != nil {
		return nil, err
	}
	for _, n := range p.topology.Notices {
		notices = append(notices, n.Error())
	}
	notices = append(notices, p.notices...)
	for _, m := range p.modules {
		for _, aside := range m.aside {
			notices = append(notices, aside.Error()+": no mistake, as no run comes to it")
		}
	}
	if mistakes := p.found(); len(mistakes) > 0 {
		return notices, mistakes
	}
	return notices, nil
}

// module is a file of a script, read and resolved.
type module struct {
	source
	file    *syntax.File
	program *starlark.Program
	loads   map[string]*module // by what load says

	exported  map[string]bool            // names that can be loaded; nil until one is
	functions map[string]*syntax.DefStmt // at the top level; nil until one is looked for
	named     map[string][]definition    // what its names stand for; nil until one is looked up

	aside Mistakes // in functions that no run comes to
}

// read reads the main script and all that it loads, and checks them.
func (p *plan) read(main *source) {
	known := p.names()
	byKey := map[string]*module{}
	p.main = p.readModule(main, known, byKey, nil)
	for _, m := range p.modules {
		p.survey(m)
	}
	p.checkText(known)
	p.checkTestNames()
}

// names are the names that scripts of the plan can use, each with what is known
// of it; nothing is known of a node in whose section something is wrong. A notice tells
// which nodes have none.
func (p *plan) names() map[string]starlark.Value {
	vocabulary := builtins.Vocabulary()
	for name, v := range p.config.Builtins {
		vocabulary[name] = v
	}
	names := map[string]starlark.Value{}
	notices := builtins.Globals(p.topology, vocabulary, func(name string, g builtins.Global) {
		switch {
		case g.Node == nil && p.topology.IsSure(g.Group.Section):
			names[name] = &groupName{g.Group}
		case g.Node != nil && p.topology.IsSure(g.Node.Section):
			names[name] = (*nodeName)(g.Node)
		default:
			names[name] = starlark.None
		}
	})
	p.notices = append(p.notices, notices...)
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

// groupName stands for the list of a section's nodes while a script is checked.
type groupName struct{ *topology.Group }

func (g *groupName) String() string        { return g.Section }
func (g *groupName) Type() string          { return "list" }
func (g *groupName) Freeze()               {}
func (g *groupName) Truth() starlark.Bool  { return true }
func (g *groupName) Hash() (uint32, error) { return 0, errors.New("unhashable") }

func (p *plan) mistake(pos syntax.Position, format string, args ...any) {
	if p.full(pos.Filename()) {
		p.count[pos.Filename()]++
		return
	}
	p.add(Mistake{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col), Text: fmt.Sprintf(format, args...)})
}

// keyword says, at a syntax error, how a node is reached whose name is a word of
// the language: "" unless there is such a word, or just before.
func (p *plan) keyword(m *module, pos syntax.Position) string {
	lines := bytes.SplitAfterN(m.text(), []byte("\n"), int(pos.Line)+1)
	if int(pos.Line) > len(lines) {
		return ""
	}
	line := []rune(string(lines[pos.Line-1]))
	at := min(max(int(pos.Col)-1, 0), len(line))
	isLetter := func(c rune) bool { return c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c) }
	before := strings.TrimRightFunc(string(line[:at]), func(c rune) bool { return !isLetter(c) })
	after := string(line[at:])
	words := []string{
		after[:len(after)-len(strings.TrimLeftFunc(after, isLetter))],
		before[len(strings.TrimRightFunc(before, isLetter)):],
	}
	for _, n := range p.topology.Nodes {
		if name := n.Identifier(); slices.Contains(words, name) && !isIdentifier(name) {
			return fmt.Sprintf(": %s is a word of the language, and the node of that name is topology.node(%q)", name, n.Name)
		}
	}
	return ""
}

// isIdentifier reports whether a script can name a variable so.
func isIdentifier(name string) bool {
	e, err := dialect.ParseExpr("name", name, 0)
	if err != nil {
		return false
	}
	id, ok := e.(*syntax.Ident)
	return ok && id.Name == name
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
	if text := unreadable(m.text()); text != "" {
		p.add(Mistake{File: m.name, Text: text})
		return
	}
	var broken syntax.Error
	options := dialect
	// What the main script loads is as its own, for setup and tests; nobody loads it.
	options.LoadBindsGlobally = len(p.modules) == 1
	file, err := options.Parse(m.name, m.text(), 0)
	switch {
	case errors.As(err, &broken):
		p.mistake(broken.Pos, "%s%s", broken.Msg, p.keyword(m, broken.Pos))
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
	// The resolver is told that every name is known but the language's own: the
	// unknown ones are found by checkText, which knows what a run can come to.
	isKnown := func(name string) bool {
		_, isKnown := known[name]
		return isKnown || !starlark.Universe.Has(name)
	}
	untell := tellCalls(file, func(name string) bool { return known[name] != nil || starlark.Universe.Has(name) })
	m.program, err = starlark.FileProgram(file, isKnown)
	untell()
	var unresolved resolve.ErrorList
	switch {
	case errors.As(err, &unresolved):
		for _, e := range unresolved {
			p.mistake(e.Pos, "%s", e.Msg)
		}
	case err != nil:
		p.add(Mistake{File: m.name, Text: err.Error()})
	}
}

// tellCalls puts builtins.Told around what is called that may be a method, for a program
// that is compiled of the file, until what it returns is called: what checks the text has
// it as it was written. isKnown reports whether a name is the vocabulary's, whose functions
// are told of anyway.
func tellCalls(file *syntax.File, isKnown func(string) bool) (untell func()) {
	var calls []*syntax.CallExpr
	functions := map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			calls = append(calls, n)
		case *syntax.DefStmt:
			functions[n.Name.Name] = true
		}
		return true
	})
	called := map[*syntax.CallExpr]syntax.Expr{}
	for _, c := range calls {
		if id, ok := c.Fn.(*syntax.Ident); ok && (functions[id.Name] || isKnown(id.Name)) {
			continue
		}
		called[c] = c.Fn
		c.Fn = &syntax.CallExpr{
			Fn: &syntax.Ident{NamePos: c.Lparen, Name: builtins.Told}, Lparen: c.Lparen, Args: []syntax.Expr{c.Fn}, Rparen: c.Lparen,
		}
	}
	return func() {
		for c, fn := range called {
			c.Fn = fn
		}
	}
}
