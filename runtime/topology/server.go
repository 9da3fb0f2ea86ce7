package topology

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// What an ini may ask for beside what it says itself, so that a short one is no
// reason to run out of memory.
const (
	maxMade      = 10_000    // nodes that count = makes, of all sections together
	maxReferred  = 1_000_000 // nodes that placeholders refer to, each time that a node has one
	maxPattern   = 10_000    // instructions of a ready.log
	maxPatterns  = 100_000   // of all different ones together
	maxTemplate  = 4 << 20   // bytes of a template's file
	maxTemplates = 16 << 20  // of all together, each time that a section names one
	maxFileName  = 255       // bytes of template.FILE's name
	maxValue     = 4096      // bytes of a value.NAME, which all nodes of a group may have
)

// stopSignals are the signals that may ask a program to end.
var stopSignals = [...]string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "ALRM", "ABRT", "PIPE", "PWR", "KILL"}

// keyReader reads a key of a node.
type keyReader struct {
	t *Topology
	n *Node
	k *keyValue
}

func (r keyReader) wrong(expected string) {
	r.t.file.mistakeAt(r.k.line, atValue, "%s is %q: %s was expected", r.k.key, r.k.value, phrase(expected))
}

func (r keyReader) boolean() bool {
	switch strings.ToLower(r.k.value) {
	case "", "true", "yes", "on", "1":
		return true
	case "false", "no", "off", "0":
	default:
		r.wrong("true or false")
	}
	return false
}

// text is a value that may have placeholders.
func (r keyReader) text(value string) string {
	r.k.value, r.k.isText = value, true
	return value
}

// server reads a key that says how a server is run unchanged, and reports whether it
// is one.
func (r keyReader) server() bool {
	n, k := r.n, r.k
	prefix, rest, dotted := strings.Cut(k.key, ".")
	switch {
	case k.key == "command":
		r.command()
	case prefix == "ready" && dotted:
		r.ready(rest)
	case k.key == "stop":
		name := strings.TrimPrefix(strings.ToUpper(k.value), "SIG")
		if n.Stop = name; !slices.Contains(stopSignals[:], name) {
			r.wrong("one of the signals " + strings.Join(stopSignals[:], ", "))
		}
	case k.key == "exit":
		r.exit()
	case k.key == "setup":
		if n.Setup = r.text(k.value); strings.TrimSpace(k.value) == "" {
			r.wrong("a command of the shell")
		}
	case k.key == "user":
		if n.User = k.value; k.value == "" {
			r.wrong("the name of a user of this machine")
		}
	case k.key == "count": // which readNode reads before the others
	case prefix == "template" && dotted:
		r.template(rest)
	case prefix == "value" && dotted:
		if !isEndpointName(rest) {
			r.wrong("value.NAME, with a name of letters, digits, - and _,")
		}
		if len(k.value) > maxValue {
			r.wrong(fmt.Sprintf("a text of at most %d bytes", maxValue))
		}
		n.Values = append(n.Values, Value{rest, r.text(k.value)})
	default:
		return false
	}
	return true
}

// command reads the whole command line. The program is relative to the ini, as each
// other word that begins with ./ or ../ and is a file there.
func (r keyReader) command() {
	t := r.t
	words, expected := parseWords(r.text(r.k.value))
	if expected == "" && (len(words) == 0 || words[0] == "") {
		expected = "a program and its arguments"
	}
	if expected != "" {
		r.wrong(expected)
		words = []string{""}
	}
	for i, word := range words {
		dots := strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../")
		switch {
		case i == 0 && strings.Contains(word, "/") && word[0] != '<':
			words[i] = t.abs(word)
		case dots:
			if _, err := userfile.Stat(filepath.Join(t.Dir, word)); err == nil {
				words[i] = t.abs(word)
			}
		}
	}
	r.n.Words = words
}

func (r keyReader) ready(how string) {
	n, k := r.n, r.k
	switch how {
	case "log":
		n.Ready.Log = r.pattern()
	case "port":
		if n.Ready.Port = k.value; !isEndpointName(k.value) {
			r.wrong("the name of an endpoint, such as http where there is listen.http,")
		}
	case "http":
		endpoint, rest, _ := strings.Cut(k.value, "/")
		n.Ready.HTTP = HTTPProbe{endpoint, "/" + rest}
		if r.text(k.value); !isEndpointName(endpoint) || strings.ContainsAny(rest, " \t") {
			r.wrong("ENDPOINT/PATH, such as http/health where there is listen.http,")
		}
	case "exec":
		if n.Ready.Exec = r.text(k.value); strings.TrimSpace(k.value) == "" {
			r.wrong("a command of the shell")
		}
	case "notify":
		n.Ready.Notify = r.boolean()
	case "message":
		n.Ready.Message = r.boolean()
	default:
		r.t.file.mistake(k.line, "there is no key %s: ready.log, ready.port, ready.http, ready.exec, "+
			"ready.notify or ready.message was expected", k.key)
	}
}

// pattern compiles a regular expression, once where sections have the same.
func (r keyReader) pattern() *regexp.Regexp {
	t, text := r.t, r.k.value
	if compiled, ok := t.patterns[text]; ok {
		return compiled
	}
	if t.patternCost > maxPatterns || t.file.full() {
		if !t.file.full() {
			r.t.file.mistake(r.k.line, "the patterns of all sections are too large together: at most %d instructions were expected", maxPatterns)
		}
		return nil
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	cost := len(text) / 8
	if err == nil {
		cost = patternCost(tree)
	}
	t.patternCost += cost
	switch {
	case text == "":
		r.wrong("a regular expression that a line of the output matches")
	case err != nil:
		r.wrong("a regular expression (" + Brief(err.Error(), maxQuoted) + ")")
	case cost > maxPattern:
		r.wrong(fmt.Sprintf("a regular expression of at most %d instructions", maxPattern))
	default:
		if t.patterns == nil {
			t.patterns = map[string]*regexp.Regexp{}
		}
		t.patterns[text], err = regexp.Compile(text)
		if err != nil {
			r.wrong("a regular expression (" + Brief(err.Error(), maxQuoted) + ")")
		}
		return t.patterns[text]
	}
	return nil
}

// patternCost is about how many instructions a regular expression has, and no more
// than one above maxPattern.
func patternCost(re *syntax.Regexp) int {
	cost := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		if cost += patternCost(sub); cost > maxPattern {
			break
		}
	}
	if re.Op == syntax.OpRepeat {
		cost *= max(re.Min, re.Max, 1)
	}
	return min(cost, maxPattern+1)
}

func (r keyReader) exit() {
	fields := strings.FieldsFunc(r.k.value, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
	for _, field := range fields {
		code, err := strconv.ParseUint(field, 10, 8)
		if err != nil {
			fields = nil
			break
		}
		r.n.Exit = append(r.n.Exit, int(code))
	}
	if len(fields) == 0 {
		r.wrong("exit codes from 0 to 255, such as 0, 143,")
	}
}

// template reads what is put into the node's folder: the lines below the key, or the
// file that it names.
func (r keyReader) template(name string) {
	t, k := r.t, r.k
	one := Template{Name: name, file: t.Path, line: k.line + 1}
	isWithin := fs.ValidPath(name) && name != "." && filepath.IsLocal(filepath.FromSlash(name)) && !strings.Contains(name, `\`)
	if !isWithin || len(name) > maxFileName {
		t.file.mistake(k.line, "%s: a file within the node's folder was expected, such as conf/server.conf, of at most %d bytes",
			k.key, maxFileName)
	}
	switch {
	case k.below:
		one.Text = k.value
	case k.value == "":
		r.wrong("a file, relative to the ini, or an indented text below the key")
	default:
		if one.file, one.line = k.value, 1; !filepath.IsAbs(k.value) {
			one.file = filepath.Join(filepath.Dir(t.Path), k.value)
		}
		var text []byte
		var err error
		if t.files != nil {
			if text, err = fs.ReadFile(t.files, path.Join(path.Dir(t.Path), k.value)); len(text) > maxTemplate {
				err = fmt.Errorf("it has over %d MiB", maxTemplate>>20)
			}
		} else {
			one.Source = t.abs(k.value)
			text, err = userfile.Read(one.Source, maxTemplate)
			if info, err := userfile.Stat(one.Source); err == nil {
				one.Mode = info.Mode().Perm()
			}
		}
		if t.templated += len(text); err == nil && t.templated > maxTemplates {
			err = fmt.Errorf("the templates of all sections have over %d MiB together", maxTemplates>>20)
		}
		if err != nil {
			r.wrong("a file, relative to the ini, or an indented text below the key (" + Brief(err.Error(), maxQuoted) + ")")
			return
		}
		one.Text = string(text)
	}
	r.n.Templates = append(r.n.Templates, one)
}

// checkServer finds what keys of a node say that does not go together.
func (t *Topology) checkServer(n *Node) {
	f := t.file
	wrong := func(key, format string, args ...any) {
		f.mistakeAt(n.lines[key], atValue, "%s is %q: "+format, append([]any{key, n.valueOf(key)}, args...)...)
	}
	for key, endpoint := range map[string]string{"ready.port": n.Ready.Port, "ready.http": n.Ready.HTTP.Endpoint} {
		if endpoint == "" || !isEndpointName(endpoint) {
			continue
		}
		i := slices.IndexFunc(n.Endpoints, func(e Endpoint) bool { return e.Name == endpoint })
		switch {
		case i < 0 && n.lines["listen."+endpoint] == 0:
			wrong(key, "[%s] has no listen.%s%s", n.Section, endpoint, phrase(t.meantOf(endpoint, n)))
		case i >= 0 && n.Endpoints[i].Network != "tcp":
			wrong(key, "listen.%s is udp, which accepts no connection", endpoint)
		}
	}
	if n.Cwd != "" && len(n.Templates) > 0 {
		key := "template." + n.Templates[0].Name
		f.mistake(n.lines[key], "%s is put into the folder that the run gives to the node, and [%s] has cwd at line %d instead of one: "+
			"take one of them away",
			key, n.Section, n.lines["cwd"])
	}
	templates := map[string]bool{}
	for _, one := range n.Templates {
		templates[one.Name] = true
	}
	for _, one := range n.Templates {
		if len(one.Name) > maxFileName {
			continue
		}
		for dir := path.Dir(one.Name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if templates[dir] {
				f.mistake(n.lines["template."+one.Name], "template.%s needs a folder %s, and template.%[2]s at line %[3]d is a file of that name",
					one.Name, dir, n.lines["template."+dir])
			}
		}
	}
	for _, v := range n.Values {
		if line := n.lines["listen."+v.Name]; line > 0 {
			f.mistake(n.lines["value."+v.Name], "value.%s has the name of listen.%[1]s at line %[2]d: <%[3]s:%[1]s> would be either",
				v.Name, line, n.Name)
		}
	}
}

// meantOf says which endpoint of a node a name was meant to be, or nothing.
func (t *Topology) meantOf(endpoint string, n *Node) string {
	if t.file.full() {
		return ""
	}
	var names []string
	for _, e := range n.Endpoints[:min(len(n.Endpoints), MaxWords)] {
		names = append(names, e.Name)
	}
	if nearest := Nearest(endpoint, names); nearest != "" {
		return ": did you mean " + nearest + "?"
	}
	return ""
}

// valueOf is the value of a key as the ini has it.
func (n *Node) valueOf(key string) string {
	for _, k := range n.keys {
		if k.key == key {
			return k.value
		}
	}
	return ""
}

// countOf is how many nodes a section makes, and whether it has count =.
func (t *Topology) countOf(s *section) (count int, isGiven bool) {
	line := s.lines["count"]
	if line == 0 {
		return 1, false
	}
	for _, k := range s.keys {
		if k.key != "count" || k.bare {
			continue
		}
		count, err := strconv.Atoi(k.value)
		switch t.made += max(0, count); {
		case err != nil || count < 1 || count > maxMade:
			t.file.mistakeAt(line, atValue, "count is %q: a number from 1 to %d was expected", k.value, maxMade)
		case t.made > maxMade:
			t.file.mistakeAt(line, atValue, "count is %s, and with it the sections make %d nodes: at most %d were expected", k.value, t.made, maxMade)
		default:
			return count, true
		}
		t.made = min(t.made, maxMade)
	}
	return 1, true
}

// multiply makes the nodes of a section that has count =, of the first one.
func (t *Topology) multiply(n *Node, count int) {
	g := &Group{Section: n.Section, Line: n.Line, Nodes: make([]*Node, 0, count)}
	t.Groups = append(t.Groups, g)
	t.Nodes = t.Nodes[:len(t.Nodes)-1]
	name := n.Name
	for i := range count {
		one := *n
		one.Index, one.Name = i+1, name+strconv.Itoa(i+1)
		g.Nodes = append(g.Nodes, &one)
	}
	t.Nodes = append(t.Nodes, g.Nodes...)
	if last := g.Nodes[count-1].Name; n.lines["name"] == 0 && !isNodeName(last) {
		t.file.mistake(n.Line, "[%s] makes a node %q: %s was expected, or a key name", n.Section, last, phrase(nameExpected))
	}
}
