// Package builtins is the vocabulary of scripts: what a Starlark script can
// call, one file a family, each with a table of its builtins first.
//
// A builtin takes its arguments apart, calls package runtime, and wraps what
// that returns; the mechanics are there. What a builtin is called, which
// parameters it has and what it does is written once, in its table: calls are
// bound by that signature, and Catalogue, the documentation and the static
// checks read the same.
//
// It is package script's, and no API for embedders, who find Wait, RunOf, Act, OpsOf and
// Checked there.
// What it exports is for three callers:
//
//   - script runs a script by NewHost, Options and Host.
//   - script checks a text by Catalogue, Bind, Vocabulary, Globals, GroupNames,
//     NodeAttributes and IsFault, and compiles it with Told; cmd shows Catalogue and Families.
//   - Who looks at the cause of a result finds FailError, InconclusiveError and
//     PanicError in it. These three are as stable as package script.
package builtins

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Doc describes one name of the vocabulary.
type Doc struct {
	Name      string // "fork", "random.choice", "node.state"
	Family    string // "lifecycle", …
	Signature string // "fork(nodes, args=None, env=None)"; an attribute is its name
	Text      string // what it does, in sentences
	Example   string // lines of a script that use it; "" where it speaks for itself
	Params    []Param
	Callable  bool
}

// Param is a parameter of a builtin.
type Param struct {
	Name     string
	Optional bool
	Rest     bool // *name: any number of positional arguments
}

// builtin is an entry of a table.
type builtin struct {
	name   string
	params string // as in the signature
	text   string
	call   func(*call) (starlark.Value, error)
}

// family is a table.
type family struct {
	name     string
	about    string
	builtins []builtin
}

// families are all tables, in the order of the documentation.
func families() []family {
	return []family{lifecycle(), actions(), looking(), processFaults(), networkFaults(), timeAndTasks(), chance(), operations(), checkers(),
		verdicts()}
}

// standard are the modules of go.starlark.net, which documents them.
var standard = []Doc{
	{Name: "json", Family: "standard", Signature: "json", Text: "encode, decode, encode_indent and indent of JSON."},
	{Name: "math", Family: "standard", Signature: "math", Text: "The functions of Python's math module."},
	{Name: "time", Family: "standard", Signature: "time", Text: "now, parse_duration, time and the units second, " +
		"millisecond, …; a duration is a time.duration."},
	{Name: "struct", Family: "standard", Signature: "struct(**fields)", Text: "A value with the given attributes, which cannot be changed."},
}

// Families are the names of the families, in the order of the documentation,
// each with a sentence about it.
func Families() [][2]string {
	out := [][2]string{}
	for _, f := range families() {
		out = append(out, [2]string{f.name, f.about})
	}
	return append(out, [2]string{"values", "What the ini gives a script: nodes, the topology, and what builtins return."},
		[2]string{"standard", "The modules of the language's own library."})
}

// Catalogue is the whole vocabulary, by family.
func Catalogue() []Doc {
	var docs []Doc
	for _, f := range families() {
		for _, b := range f.builtins {
			text, example, _ := strings.Cut(b.text, "Example:")
			docs = append(docs, Doc{Name: b.name, Family: f.name, Signature: b.name + "(" + b.params + ")",
				Text: strings.TrimSpace(text), Example: strings.TrimSuffix(strings.TrimSpace(example), "."),
				Params: parseParams(b.params), Callable: true})
		}
	}
	docs = append(docs, valueDocs()...)
	return append(docs, standard...)
}

// parseParams reads the parameters of a signature.
func parseParams(s string) []Param {
	var params []Param
	depth := 0
	for _, p := range strings.FieldsFunc(s, func(c rune) bool {
		switch c {
		case '[', '{', '(':
			depth++
		case ']', '}', ')':
			depth--
		}
		return c == ',' && depth == 0
	}) {
		name, _, optional := strings.Cut(strings.TrimSpace(p), "=")
		name, rest := strings.CutPrefix(name, "*")
		params = append(params, Param{Name: name, Optional: optional, Rest: rest})
	}
	return params
}

// Bind assigns the arguments of a call to parameters: it tells for every
// argument which parameter it is, or what is wrong with it. The static checks
// and the calls themselves go by it.
func Bind(params []Param, positional int, named []string) (position []int, name []int, err error) {
	rest := slices.IndexFunc(params, func(p Param) bool { return p.Rest })
	bound := make([]bool, len(params))
	for i := range positional {
		to := i
		if rest >= 0 && to >= rest {
			to = rest
		}
		if to >= len(params) {
			return nil, nil, fmt.Errorf("got %d arguments, want at most %d", positional, len(params))
		}
		bound[to] = true
		position = append(position, to)
	}
	for _, n := range named {
		to := slices.IndexFunc(params, func(p Param) bool { return p.Name == n && !p.Rest })
		switch {
		case to < 0:
			return nil, nil, fmt.Errorf("unexpected keyword argument %q%s", n, meant(n, params))
		case bound[to]:
			return nil, nil, fmt.Errorf("got two values for parameter %q", n)
		}
		bound[to] = true
		name = append(name, to)
	}
	for i, p := range params {
		if !bound[i] && !p.Optional && !p.Rest {
			return nil, nil, fmt.Errorf("missing argument for %s", p.Name)
		}
	}
	return position, name, nil
}

func meant(name string, params []Param) string {
	var names []string
	for _, p := range params {
		if !p.Rest {
			names = append(names, p.Name)
		}
	}
	if n := topology.Nearest(name, names); n != "" {
		return fmt.Sprintf(" (did you mean %s?)", n)
	}
	if len(names) > 0 {
		return fmt.Sprintf(" (it takes %s)", strings.Join(names, ", "))
	}
	return ""
}

// call is one call of a builtin.
type call struct {
	name   string
	thread *starlark.Thread
	host   *Host
	task   *scriptTask
	values []starlark.Value // by parameter; nil where it was left out
	rest   starlark.Tuple
	params []Param
}

// make makes the Starlark function of a table's entry.
func (b builtin) make() *starlark.Builtin {
	params := parseParams(b.params)
	return starlark.NewBuiltin(b.name, func(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		c := &call{name: b.name, thread: thread, params: params, values: make([]starlark.Value, len(params))}
		var err error
		if c.host, c.task, err = hostOf(thread); err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		names := make([]string, len(kwargs))
		for i, kv := range kwargs {
			names[i] = string(kv[0].(starlark.String))
		}
		position, name, err := Bind(params, len(args), names)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		for i, to := range position {
			if params[to].Rest {
				c.rest = append(c.rest, args[i])
			} else {
				c.values[to] = args[i]
			}
		}
		for i, to := range name {
			c.values[to] = kwargs[i][1]
		}
		defer c.task.enter(thread, "", b.name)()
		v, err := contained(func() (starlark.Value, error) { return b.call(c) })
		var evaluated *starlark.EvalError
		switch {
		case err == nil && v == nil:
			return starlark.None, nil
		case err == nil:
			return v, nil
		case asEval(err, &evaluated): // of a function that it called: keep its backtrace
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", b.name, err)
	})
}

// asEval reports whether an error is one of a script's function, itself and not
// something that wraps one.
func asEval(err error, to **starlark.EvalError) bool {
	e, ok := err.(*starlark.EvalError)
	*to = e
	return ok
}

// module is a value with members, such as random.
type module struct {
	name    string
	members starlark.StringDict
}

func (m *module) String() string        { return fmt.Sprintf("<module %q>", m.name) }
func (m *module) Type() string          { return "module" }
func (m *module) Freeze()               {}
func (m *module) Truth() starlark.Bool  { return true }
func (m *module) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: module") }
func (m *module) Attr(name string) (starlark.Value, error) {
	if v, ok := m.members[name]; ok {
		return v, nil
	}
	return nil, nil // the evaluator says so, with a hint
}
func (m *module) AttrNames() []string {
	names := m.members.Keys()
	sort.Strings(names)
	return names
}

// predeclared makes the vocabulary: the builtins, those with a dot in their
// names in modules.
func predeclared() starlark.StringDict {
	d := starlark.StringDict{}
	for _, f := range families() {
		for _, b := range f.builtins {
			of, member, dotted := strings.Cut(b.name, ".")
			if !dotted {
				d[b.name] = b.make()
				continue
			}
			m, ok := d[of].(*module)
			if !ok {
				m = &module{name: of, members: starlark.StringDict{}}
				d[of] = m
			}
			m.members[member] = b.make()
		}
	}
	return d
}
