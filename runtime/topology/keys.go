package topology

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
)

// Key is a key of the ini that is not passed to the program.
type Key struct {
	Name, Value, Text string
	Example           string // a whole ini, which runs where the files and users that it names are there
}

// Keys are the keys of a node's section that say how it is run. In a section with
// path = or component =, any other is passed to the program as --key=value, in the
// order of the file, after --name= and before --phone-home=; in one with command = it
// is a mistake.
func Keys() []Key { return slices.Clone(nodeKeys[:]) }

// SettingKeys are the keys of [dagon].
func SettingKeys() []Key {
	d := DefaultSettings()
	return []Key{
		{"listen", "HOST:PORT", "where the control socket listens, for all nodes; without it each has a port of its own on 127.0.0.1", ""},
		{"timeout", "DURATION", fmt.Sprintf("of an await, %s", d.Timeout), ""},
		{"drain", "DURATION", fmt.Sprintf("between done and shutdown, %s", d.Drain), ""},
		{"grace", "DURATION", fmt.Sprintf("for a node to end before it is killed, %s", d.Grace), ""},
		{"time_limit", "DURATION", fmt.Sprintf("of the run, %s", d.TimeLimit), ""},
		{"seed", "NUMBER", "of all that is drawn; without it each run has a new one", ""},
		{"links", "auto|proxy|direct", "how nodes reach each other by <node:NAME>: through a link that faults act on, or " +
			"directly; auto is proxy where the script's text has net faults", ""},
		{"contain", "auto|sealed|cgroup|supervised", "how surely nothing outlives the run: the rung of the containment " +
			"ladder that it must be on, or the highest that the machine gives", ""},
		{"usage", "DURATION|off", fmt.Sprintf("between two looks at what nodes use, which the event log has, %s; at least %s",
			d.Usage, minUsage), ""},
	}
}

// minUsage is the least that usage may be: a look at many processes takes its time.
const minUsage = 50 * time.Millisecond

var wrapperArg = regexp.MustCompile(`^wrapper_args_([0-9]+)$`)

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
		t.file.mistake(0, "no node: a section such as [leader] with command =, path = or component = was expected")
	}
	t.checkNames()
	for _, n := range t.sectionNodes() {
		t.checkVariables(n)
		t.checkPorts(n)
		t.checkPlaceholders(n)
	}
	t.Notices = t.file.notices
}

// sectionNodes are one node of each section: what the ini says of the others that
// count = makes is the same.
func (t *Topology) sectionNodes() []*Node {
	if len(t.Groups) == 0 {
		return t.Nodes
	}
	var first []*Node
	for _, n := range t.Nodes {
		if n.Index <= 1 {
			first = append(first, n)
		}
	}
	return first
}

// KeyLine is the line of a key of the node's, or of its section where it has none.
func (n *Node) KeyLine(key string) int { return n.keyLine(key) }

func (n *Node) keyLine(key string) int { return cmp.Or(n.lines[key], n.Line) }

func (t *Topology) readNode(s *section) {
	n := &Node{Name: s.name, Section: s.name, Line: s.line, Stop: "TERM", keys: s.keys, lines: s.lines}
	t.Nodes = append(t.Nodes, n)
	f := t.file
	hasCommand := s.lines["command"] > 0
	type numbered struct {
		number int
		keyValue
	}
	var wrapperArgs []numbered
	roles := map[Role]int{}
	lead := func() {
		if roles[Leader] == 0 && !hasCommand {
			n.Flags = append(n.Flags, Flag{Key: "leader"})
		}
	}
	for i := range s.keys {
		k := &s.keys[i]
		r := keyReader{t, n, k}
		prefix, rest, dotted := strings.Cut(k.key, ".")
		switch {
		case k.bare && !slices.Contains([]string{"leader", "sender", "tty", "may_exit", "ready.notify", "ready.message"}, k.key):
			f.mistake(k.line, "%s has no value: %[1]s = value was expected", k.key)
		case hasCommand && isFlag(k.key):
			f.mistake(k.line, "[%s] has a command, which takes no flags: %s is no key of its section%s", s.name, k.key, phrase(t.keyMeant(k.key)))
		case k.key == "path":
			if n.Path = k.value; k.value == "" {
				r.wrong("a program")
			}
		case k.key == "component":
			if n.Component = k.value; k.value == "" {
				r.wrong("the name of a component")
			}
		case k.key == "role":
			switch role := Role(k.value); role {
			case Leader, Worker, Sender, Receiver:
				if role == Leader {
					lead()
				}
				roles[role] = k.line
			default:
				r.wrong("leader, worker, sender or receiver")
			}
		case k.key == "leader":
			if r.boolean() {
				lead()
				roles[Leader] = k.line
			}
		case k.key == "sender":
			if r.boolean() {
				roles[Sender] = k.line
			}
		case k.key == "name":
			if n.Name = k.value; !isNodeName(k.value) {
				r.wrong(nameExpected)
			}
		case k.key == "args":
			words, expected := parseWords(r.text(k.value))
			if cut := f.cut[k.line]; expected != "" && cut != "" {
				expected = fmt.Sprintf("back quotes around all of it, as %q would be taken for a comment,", cut)
			}
			if n.Args = words; expected != "" {
				r.wrong(expected)
			}
		case k.key == "cwd":
			n.Cwd = r.text(t.abs(k.value))
		case k.key == "tty":
			n.TTY = r.boolean()
		case k.key == "tty.size":
			var ok bool
			if n.TTYSize, ok = parseTTYSize(k.value); !ok {
				r.wrong("COLUMNSxROWS, such as 132x43, each from 1 to 65535,")
			}
		case k.key == "may_exit":
			n.MayExit = r.boolean()
		case k.key == "wrapper_path":
			n.Wrapper = []string{r.text(t.program(k.value))}
		case wrapperArg.MatchString(k.key):
			number, err := strconv.Atoi(wrapperArg.FindStringSubmatch(k.key)[1])
			if err != nil {
				f.mistake(k.line, "%s has too great a number", k.key)
			}
			r.text(k.value)
			wrapperArgs = append(wrapperArgs, numbered{number, *k})
		case prefix == "docker" && dotted:
		case prefix == "env" && dotted:
			if rest == "" || strings.Contains(rest, "=") {
				r.wrong("env.KEY = value")
			}
			n.Env = append(n.Env, EnvVar{rest, r.text(k.value)})
		case prefix == "arg" && dotted:
			if rest == "" {
				r.wrong("arg.KEY = value")
			}
			n.Flags = append(n.Flags, Flag{rest, r.text(k.value)})
		case prefix == "listen" && dotted:
			if e, ok := parseEndpoint(rest, k.value); ok {
				n.Endpoints = append(n.Endpoints, e)
			} else {
				r.wrong("a port, auto, udp:PORT or udp:auto, under a name of letters, digits, - and _")
			}
		case k.key == "file":
			n.Flags = append(n.Flags, Flag{k.key, r.text(t.abs(k.value))})
		case r.server():
		default:
			if meant := misspelt(k.key); meant != "" {
				f.notice(k.line, "%s is passed to the program as a flag: did you mean %s?", k.key, meant)
			}
			n.Flags = append(n.Flags, Flag{k.key, r.text(k.value)})
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
	t.checkProgram(n)
	if line := n.lines["tty.size"]; line > 0 && !n.TTY {
		f.mistake(line, "tty.size is given, but the node has no terminal: tty = true was expected")
	}
	if n.lines["name"] == 0 && !isNodeName(n.Name) {
		f.mistake(n.Line, "[%s] is the node's name too: %s was expected, or a key name", s.name, nameExpected)
	}
	if !hasCommand && !slices.ContainsFunc(s.keys, func(k keyValue) bool { return strings.HasPrefix(k.key, "ready.") }) {
		n.Ready.Message = true
	}
	n.Role = t.role(n, roles)
	t.checkServer(n)
	if count, isGiven := t.countOf(s); isGiven {
		t.multiply(n, count)
	}
}

// checkProgram finds whether one thing is said to be run, and where the program is.
func (t *Topology) checkProgram(n *Node) {
	var given []string
	for _, key := range []string{"path", "component", "command"} {
		if n.lines[key] > 0 {
			given = append(given, key)
		}
	}
	slices.SortFunc(given, func(a, b string) int { return n.lines[a] - n.lines[b] })
	switch {
	case len(given) == 0:
		t.file.mistake(n.Line, "[%s] says nothing to run: path = a program, component = the name of a built-in one, or "+
			"command = a whole command line was expected%s", n.Section, meantToRun(n))
	case len(given) > 1:
		for _, key := range given[1:] {
			t.file.mistake(n.lines[key], "[%s] has both %s and %s: one of them was expected", n.Section, given[0], key)
		}
	case n.Path != "":
		n.Path = t.program(n.Path)
	}
}

// meantToRun says which key of a section that says nothing to run may have been meant to.
func meantToRun(n *Node) string {
	for _, key := range slices.Sorted(maps.Keys(n.lines)) {
		if meant := Nearest(key, []string{"path", "component", "command"}); meant != "" {
			return fmt.Sprintf(" (did you mean %s by %s at line %d?)", meant, key, n.lines[key])
		}
	}
	return ""
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

// Words takes a text apart as a shell does, and as command = is: for what is added to the
// command line of a node.
func Words(text string) ([]string, error) {
	words, expected := parseWords(text)
	if expected != "" {
		return nil, fmt.Errorf("%s was expected", expected)
	}
	return words, nil
}

// parseWords takes a text apart as a shell does, and tells what was expected
// where it cannot. A placeholder needs no quotes.
func parseWords(s string) (words []string, expected string) {
	p := shellwords.NewParser()
	p.SetExcludeSeparators('<', '>')
	words, err := p.Parse(s)
	switch {
	case err != nil:
		return nil, "words as a shell has them, with every quote closed"
	case p.Position >= 0: // it stops there, and would leave out the rest
		return nil, "words as a shell has them, with quotes around ; & |"
	}
	return words, ""
}

// misspelt is the key that a flag may have been meant to be, or "". Those that are
// near to a word that programs have as a flag, such as step, are no guess.
func misspelt(key string) string {
	if len(key) < 4 || len(key) > maxWord {
		return ""
	}
	first, _, dotted := strings.Cut(key, ".")
	for _, k := range nodeKeys {
		base, _, isDotted := strings.Cut(k.Name, ".")
		is, isCommon := key, slices.Contains([]string{"stop", "exit", "user", "count", "setup"}, base)
		switch {
		case dotted && isDotted:
			is = first
		case slices.Contains([]string{"ready", "value", "template"}, base):
			isCommon = true
		}
		if !isCommon && is != base && len(is) >= 4 && distance(strings.ReplaceAll(is, "-", "_"), base) <= 1 {
			return k.Name
		}
	}
	return ""
}

// isFlag reports whether a key is passed to the program.
func isFlag(key string) bool {
	first, _, dotted := strings.Cut(key, ".")
	switch {
	case key == "args", key == "file", dotted && first == "arg":
		return true
	case wrapperArg.MatchString(key), dotted && slices.Contains([]string{"docker", "ready"}, first):
		return false
	}
	return !slices.ContainsFunc(nodeKeys[:], func(k Key) bool {
		base, param, isDotted := strings.Cut(k.Name, ".")
		return k.Name == key || dotted && isDotted && base == first && param == strings.ToUpper(param)
	})
}

// keyMeant says which key of a section that has a command one was meant to be, or
// nothing.
func (t *Topology) keyMeant(key string) string {
	if t.file.full() || len(key) > maxWord {
		return ""
	}
	_, rest, dotted := strings.Cut(key, ".")
	var names []string
	for _, k := range nodeKeys {
		base, param, isDotted := strings.Cut(k.Name, ".")
		switch {
		case isFlag(k.Name) || strings.HasPrefix(k.Name, "wrapper_args"):
		case isDotted && param == strings.ToUpper(param):
			if dotted {
				names = append(names, base+"."+rest)
			}
		default:
			names = append(names, k.Name)
		}
	}
	if n := Nearest(key, names); n != "" {
		return ": did you mean " + n + "?"
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

// Relative reports whether the ini names the file of an absolute path relative to
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
		case "usage":
			if set.Usage = 0; k.value != "off" {
				if set.Usage, err = ParseDuration(k.value); err == nil && set.Usage < minUsage {
					err = fmt.Errorf("%q is shorter than the %s that a look may take", k.value, minUsage)
				}
			}
		default:
			if !t.file.full() {
				expected = settingMeant(k.key)
			}
			t.file.mistake(k.line, "[dagon] has no key %s%s", k.key, expected)
			continue
		}
		switch {
		case err != nil && expected == "":
			t.file.mistakeAt(k.line, atValue, "%s: %v", k.key, err)
		case err != nil, (k.key == "links" || k.key == "contain") && expected != "":
			t.file.mistakeAt(k.line, atValue, "%s is %q: %s was expected", k.key, k.value, expected)
		case k.key == "timeout" && set.Timeout == 0:
			t.file.mistakeAt(k.line, atValue, "timeout is 0: no await could be met")
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
