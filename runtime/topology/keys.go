package topology

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-shellwords"
)

// Key is a key of the ini that is not passed to the program.
type Key struct{ Name, Value, Text string }

// Keys are the keys of a node's section that say how it is run. Any other is
// passed to its program as --key=value, in the order of the file, after --name=
// and before --phone-home=.
func Keys() []Key { return slices.Clone(nodeKeys[:]) }

var nodeKeys = [...]Key{
	{"path", "FILE", "the program, relative to the ini; a name without a slash is looked up in PATH where no such file is beside the ini"},
	{"component", "NAME", "runs a component that is built into dagon-star instead of a program"},
	{"role", "leader|worker|sender|receiver", "the node's role"},
	{"leader", "true|false", "the older way to say so; true, or empty, also passes -l"},
	{"sender", "true|false", "the older way to say so. Without a role, a section or name with \"receiver\" in it is a receiver, and any other a worker"},
	{"name", "NAME", "the node's name, if it is not the section's"},
	{"file", "FILE", "passed as --file=, made absolute: it is relative to the ini"},
	{"args", "WORDS", "more arguments, in the words of a shell"},
	{"arg.KEY", "VALUE", "passes --KEY=VALUE where KEY is one of these keys"},
	{"env.KEY", "VALUE", "sets a variable in the environment"},
	{"cwd", "DIR", "the working folder, relative to the ini; without it the node has one of its own in the run's folder"},
	{"tty", "true|false", "gives the node a terminal; carriage returns at the ends of its lines are left out"},
	{"tty.size", "COLUMNSxROWS", "the size of that terminal, 80x24"},
	{"may_exit", "true|false", "the node may exit unasked"},
	{"listen.NAME", "PORT|auto|udp:PORT|udp:auto", "an endpoint of the node's own address: <SELF:NAME> here, <node:NAME> in other sections, DAGON_LISTEN_NAME in its environment"},
	{"wrapper_path", "FILE", "a program put in front of the command"},
	{"wrapper_args_N", "VALUE", "its arguments, in the order of their numbers"},
}

// SettingKeys are the keys of [dagon].
func SettingKeys() []Key {
	d := DefaultSettings()
	return []Key{
		{"listen", "HOST:PORT", "where the control socket listens, for all nodes; without it each has a port of its own on 127.0.0.1"},
		{"timeout", "DURATION", fmt.Sprintf("of an await, %s", d.Timeout)},
		{"drain", "DURATION", fmt.Sprintf("between done and shutdown, %s", d.Drain)},
		{"grace", "DURATION", fmt.Sprintf("for a node to end before it is killed, %s", d.Grace)},
		{"time_limit", "DURATION", fmt.Sprintf("of the run, %s", d.TimeLimit)},
		{"seed", "NUMBER", "of all that is drawn; without it each run has a new one"},
		{"links", "auto|proxy|direct", "how nodes reach each other by <node:NAME>: through a link that faults act on, or directly; auto is proxy where the script's text has net faults"},
		{"contain", "auto|sealed|cgroup|supervised", "how surely nothing outlives the run: the rung of the containment ladder that it must be on, or the highest that the machine gives"},
	}
}

var (
	wrapperArg = regexp.MustCompile(`^wrapper_args_([0-9]+)$`)
)

// read makes nodes and settings of the file's sections.
func (t *Topology) read() {
	docker := 0
	for _, s := range t.file.sections {
		switch s.name {
		case "docker", "docker-env":
			docker = cmp.Or(docker, s.line)
		case "dagon":
			t.readSettings(s)
		case "DEFAULT":
			t.file.mistake(s.line, "[DEFAULT] is no node's name: every section has its own keys, and none inherits")
		default:
			for _, k := range s.keys {
				if strings.HasPrefix(k.key, "docker.") {
					docker = cmp.Or(docker, k.line)
				}
			}
			t.readNode(s)
		}
	}
	if docker > 0 {
		t.file.notice(docker, "[docker], [docker-env] and docker.* keys are skipped: nodes run as processes of this machine")
	}
	if len(t.Nodes) == 0 && len(t.file.mistakes) == 0 {
		t.file.mistake(0, "no node: a section such as [leader] with path = or component = was expected")
	}
	t.checkNames()
	for _, n := range t.Nodes {
		t.checkVariables(n)
		t.checkPorts(n)
		t.checkPlaceholders(n)
	}
	t.Notices = t.file.notices
}

func (n *Node) keyLine(key string) int { return cmp.Or(n.lines[key], n.Line) }

func (t *Topology) readNode(s *section) {
	n := &Node{Name: s.name, Section: s.name, Line: s.line, keys: s.keys, lines: s.lines}
	t.Nodes = append(t.Nodes, n)
	f := t.file
	wrong := func(k keyValue, expected string) {
		f.mistake(k.line, "%s is %q: %s was expected", k.key, k.value, expected)
	}
	boolean := func(k keyValue) bool {
		switch strings.ToLower(k.value) {
		case "", "true", "yes", "on", "1":
			return true
		case "false", "no", "off", "0":
		default:
			wrong(k, "true or false")
		}
		return false
	}
	type numbered struct {
		number int
		keyValue
	}
	var wrapperArgs []numbered
	roles := map[Role]int{}
	for i, k := range s.keys {
		text := func(value string) string { // one that may have placeholders
			s.keys[i].value, s.keys[i].isText = value, true
			return value
		}
		prefix, rest, dotted := strings.Cut(k.key, ".")
		switch {
		case k.bare && !slices.Contains([]string{"leader", "sender", "tty", "may_exit"}, k.key):
			f.mistake(k.line, "%s has no value: %[1]s = value was expected", k.key)
		case k.key == "path":
			if n.Path = k.value; k.value == "" {
				wrong(k, "a program")
			}
		case k.key == "component":
			if n.Component = k.value; k.value == "" {
				wrong(k, "the name of a component")
			}
		case k.key == "role":
			switch r := Role(k.value); r {
			case Leader, Worker, Sender, Receiver:
				roles[r] = k.line
				if r == Leader {
					n.Flags = append(n.Flags, Flag{Key: "leader"})
				}
			default:
				wrong(k, "leader, worker, sender or receiver")
			}
		case k.key == "leader":
			if boolean(k) {
				if roles[Leader] == 0 {
					n.Flags = append(n.Flags, Flag{Key: "leader"})
				}
				roles[Leader] = k.line
			}
		case k.key == "sender":
			if boolean(k) {
				roles[Sender] = k.line
			}
		case k.key == "name":
			if n.Name = k.value; !isNodeName(k.value) {
				wrong(k, nameExpected)
			}
		case k.key == "args":
			words, expected := parseWords(text(k.value))
			if cut := f.cut[k.line]; expected != "" && cut != "" {
				expected = fmt.Sprintf("back quotes around all of it, as %q would be taken for a comment,", cut)
			}
			if n.Args = words; expected != "" {
				wrong(k, expected)
			}
		case k.key == "cwd":
			n.Cwd = text(t.abs(k.value))
		case k.key == "tty":
			n.TTY = boolean(k)
		case k.key == "tty.size":
			var ok bool
			if n.TTYSize, ok = parseTTYSize(k.value); !ok {
				wrong(k, "COLUMNSxROWS, such as 132x43, each from 1 to 65535,")
			}
		case k.key == "may_exit":
			n.MayExit = boolean(k)
		case k.key == "wrapper_path":
			n.Wrapper = []string{text(t.program(k.value))}
		case wrapperArg.MatchString(k.key):
			number, err := strconv.Atoi(wrapperArg.FindStringSubmatch(k.key)[1])
			if err != nil {
				f.mistake(k.line, "%s has too great a number", k.key)
			}
			text(k.value)
			wrapperArgs = append(wrapperArgs, numbered{number, k})
		case prefix == "docker" && dotted:
		case prefix == "env" && dotted:
			if rest == "" || strings.Contains(rest, "=") {
				wrong(k, "env.KEY = value")
			}
			n.Env = append(n.Env, EnvVar{rest, text(k.value)})
		case prefix == "arg" && dotted:
			if rest == "" {
				wrong(k, "arg.KEY = value")
			}
			n.Flags = append(n.Flags, Flag{rest, text(k.value)})
		case prefix == "listen" && dotted:
			if e, ok := parseEndpoint(rest, k.value); ok {
				n.Endpoints = append(n.Endpoints, e)
			} else {
				wrong(k, "a port, auto, udp:PORT or udp:auto, under a name of letters, digits, - and _")
			}
		case k.key == "file":
			n.Flags = append(n.Flags, Flag{k.key, text(t.abs(k.value))})
		default:
			if meant := misspelt(k.key); meant != "" {
				f.notice(k.line, "%s is passed to the program as a flag: did you mean %s?", k.key, meant)
			}
			n.Flags = append(n.Flags, Flag{k.key, text(k.value)})
		}
	}
	slices.SortStableFunc(wrapperArgs, func(a, b numbered) int { return a.number - b.number })
	for i, a := range wrapperArgs {
		if i > 0 && a.number == wrapperArgs[i-1].number {
			f.mistake(a.line, "%s has the number of %s at line %d: their order is not known", a.key, wrapperArgs[i-1].key, wrapperArgs[i-1].line)
		}
		if n.Wrapper == nil {
			f.mistake(n.Line, "[%s] has wrapper_args_%d but no wrapper_path", s.name, a.number)
			break
		}
		n.Wrapper = append(n.Wrapper, a.value)
	}
	switch {
	case n.Path == "" && n.Component == "":
		if n.lines["path"]+n.lines["component"] == 0 {
			f.mistake(s.line, "[%s] says nothing to run: path = a program, or component = the name of a built-in one, was expected", s.name)
		}
	case n.Path != "" && n.Component != "":
		f.mistake(n.lines["component"], "[%s] has both path and component: one of them was expected", s.name)
	case n.Path != "":
		n.Path = t.program(n.Path)
	}
	if line := n.lines["tty.size"]; line > 0 && !n.TTY {
		f.mistake(line, "tty.size is given, but the node has no terminal: tty = true was expected")
	}
	if n.lines["name"] == 0 && !isNodeName(n.Name) {
		f.mistake(n.Line, "[%s] is the node's name too: %s was expected, or a key name", s.name, nameExpected)
	}
	n.Role = t.role(n, roles)
}

func (t *Topology) role(n *Node, roles map[Role]int) Role {
	if len(roles) > 1 {
		t.file.mistake(n.Line, "[%s] has more than one role: one of role, leader and sender was expected", n.Section)
	}
	for _, r := range []Role{Leader, Sender, Receiver, Worker} {
		if roles[r] > 0 {
			return r
		}
	}
	if strings.Contains(n.Section, "receiver") || strings.Contains(n.Name, "receiver") {
		return Receiver
	}
	return Worker
}

// TTYSize is the size of a terminal, in characters.
type TTYSize struct{ Columns, Rows int }

// parseTTYSize reads COLUMNSxROWS.
func parseTTYSize(s string) (size TTYSize, ok bool) {
	columns, rows, _ := strings.Cut(s, "x")
	for _, part := range []struct {
		text string
		to   *int
	}{{columns, &size.Columns}, {rows, &size.Rows}} {
		n, err := strconv.ParseUint(part.text, 10, 16)
		if err != nil || n == 0 {
			return TTYSize{}, false
		}
		*part.to = int(n)
	}
	return size, true
}

func parseEndpoint(name, value string) (Endpoint, bool) {
	e := Endpoint{Name: name, Network: "tcp"}
	if rest, ok := strings.CutPrefix(value, "udp:"); ok {
		e.Network, value = "udp", rest
	}
	if value != "auto" {
		port, err := strconv.Atoi(value)
		if err != nil || port < 1 || port > 65535 {
			return e, false
		}
		e.Port = port
	}
	return e, isEndpointName(name)
}

// parseWords takes a text apart as a shell does, and tells what was expected
// where it cannot. A placeholder needs no quotes.
func parseWords(s string) (words []string, expected string) {
	p := shellwords.NewParser()
	p.SetExcludeSeparators('<', '>')
	words, err := p.Parse(s)
	switch {
	case err != nil:
		return nil, "words as a shell has them: " + err.Error()
	case p.Position >= 0: // it stops there, and would leave out the rest
		return nil, "words as a shell has them, with quotes around ; & |"
	}
	return words, ""
}

// misspelt is the key that a flag may have been meant to be, or "".
func misspelt(key string) string {
	if len(key) < 4 || len(key) > maxWord {
		return ""
	}
	for _, k := range nodeKeys {
		if base, _, _ := strings.Cut(k.Name, "."); key != base && distance(strings.ReplaceAll(key, "-", "_"), base) <= 1 {
			return k.Name
		}
	}
	return ""
}

func (t *Topology) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	path = filepath.Join(t.Dir, path)
	if t.relative == nil {
		t.relative = map[string]bool{}
	}
	t.relative[path] = true
	return path
}

// Relative tells whether the ini names the file of an absolute path relative to
// its own folder.
func (t *Topology) Relative(path string) bool { return t.relative[path] }

// program makes a path absolute, but for a name that is to be found in PATH.
func (t *Topology) program(path string) string {
	if !strings.ContainsAny(path, `/\`) && !exists(filepath.Join(t.Dir, path)) {
		return path
	}
	return t.abs(path)
}

func (t *Topology) readSettings(s *section) {
	set := &t.Settings
	for _, k := range s.keys {
		var err error
		expected := ""
		switch k.key {
		case "listen":
			set.Listen = k.value
		case "timeout":
			set.Timeout, err = ParseDuration(k.value)
		case "drain":
			set.Drain, err = ParseDuration(k.value)
		case "grace":
			set.Grace, err = ParseDuration(k.value)
		case "time_limit":
			set.TimeLimit, err = ParseDuration(k.value)
		case "seed":
			var seed uint64
			if seed, err = strconv.ParseUint(k.value, 10, 64); err == nil {
				set.Seed = &seed
			}
			expected = "a whole number that is not negative"
		case "links":
			set.Links, expected = k.value, oneOf(k.value, LinksAuto, LinksProxy, LinksDirect)
		case "contain":
			set.Contain, expected = k.value, oneOf(k.value, "auto", "sealed", "cgroup", "supervised")
		default:
			if !t.file.full() {
				expected = settingMeant(k.key)
			}
			t.file.mistake(k.line, "[dagon] has no key %s%s", k.key, expected)
			continue
		}
		switch {
		case err != nil && expected == "":
			t.file.mistake(k.line, "%s: %v", k.key, err)
		case err != nil, (k.key == "links" || k.key == "contain") && expected != "":
			t.file.mistake(k.line, "%s is %q: %s was expected", k.key, k.value, expected)
		case k.key == "timeout" && set.Timeout == 0:
			t.file.mistake(k.line, "timeout is 0: no await could be met")
		}
	}
}

// oneOf says what was expected, or "" where the value is among it.
func oneOf(value string, names ...string) string {
	if slices.Contains(names, value) {
		return ""
	}
	return strings.Join(names, " or ")
}

func settingMeant(key string) string {
	var all []string
	for _, k := range SettingKeys() {
		all = append(all, k.Name)
	}
	if n := Nearest(key, all); n != "" {
		return ": did you mean " + n + "?"
	}
	return ": one of " + strings.Join(all, ", ") + " was expected"
}
