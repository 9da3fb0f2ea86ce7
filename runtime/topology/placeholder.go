package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// piece is a part of a value: text as it is, or what has the form of a
// placeholder.
type piece struct {
	text           string // as it is written
	at             int    // the byte of the value at which a placeholder begins
	name, endpoint string // of a placeholder; else ""
	part           string // of the endpoint's address: "host", "port", or "" for both; any other is a mistake
	isAll          bool   // of all nodes of a group, or whose name begins so: <name*>
	expected       phrase // in place of what begins as a placeholder of the topology's and is none; else ""
}

// pieces takes a value apart. "<<" stands for a "<" before what would be a
// placeholder with one of them, and for itself elsewhere: of "<<<SELF>", the
// first two are a "<". What is closed as an element of XML further on is text.
func (t *Topology) pieces(value string, each func(piece)) {
	var closed map[string]int // where names are closed last, counted from the end of the value
	if strings.Contains(value, "</") {
		closed = elements(value)
	}
	whole := len(value)
	for value != "" {
		start := strings.IndexByte(value, '<')
		if start < 0 {
			break
		}
		opened := start + 1
		for opened < len(value) && value[opened] == '<' {
			opened++
		}
		end := strings.IndexAny(value[opened:], "<>")
		if end < 0 {
			break
		}
		end += opened
		inner := value[opened:end]
		p, ok := piece{}, false
		if value[end] == '>' {
			p, ok = t.parsePlaceholder(inner)
		}
		marks := opened - start
		if at := closed[elementName(inner)]; ok && marks%2 == 1 && at > 0 && at < len(value)-end {
			ok = false
		}
		if !ok {
			each(piece{text: value[:end]})
			value = value[end:]
			continue
		}
		before := value[:start] + strings.Repeat("<", marks/2)
		if marks%2 == 0 {
			before += p.text[1:]
		}
		if before != "" {
			each(piece{text: before})
		}
		if marks%2 == 1 {
			p.at = whole - len(value) + opened - 1
			each(p)
		}
		value = value[end+1:]
	}
	if value != "" {
		each(piece{text: value})
	}
}

// elementName is the name of the element that a tag of XML begins, without its attributes.
func elementName(inner string) string {
	if end := strings.IndexAny(inner, " \t\r\n"); end >= 0 {
		return inner[:end]
	}
	return inner
}

// elements are the names that "</name>" closes in a text, each with how many bytes
// the text has from the last place on.
func elements(text string) map[string]int {
	closed := map[string]int{}
	for {
		start := strings.Index(text, "</")
		if start < 0 {
			return closed
		}
		text = text[start+2:]
		if end := strings.IndexAny(text, "<>"); end >= 0 && text[end] == '>' {
			closed[text[:end]] = len(text)
		}
	}
}

// parsePlaceholder reads what is between "<" and ">". It is text, and ok is false, where it
// neither has the form of a placeholder nor begins as one of this topology's.
func (t *Topology) parsePlaceholder(inner string) (p piece, ok bool) {
	name, rest, colon := strings.Cut(inner, ":")
	endpoint, part, second := strings.Cut(rest, ":")
	name, isAll := strings.CutSuffix(name, "*")
	switch {
	case !isNodeName(name), name != strings.TrimSpace(name), isAll && !isWritten(name), colon && !isEndpointName(endpoint),
		second && !isEndpointName(part), strings.Contains(name, "*") && t.Find(name) == nil:
		p = piece{text: "<" + inner + ">", expected: t.expected(inner)}
		return p, p.expected != ""
	}
	return piece{text: "<" + inner + ">", name: name, endpoint: endpoint, part: part, isAll: isAll}, true
}

// expected is what was expected in place of a text between "<" and ">" that has not the
// form of a placeholder, and begins as one of this topology's:
//
//   - the name of a node, a section or a group, or SELF, NAME or FOLDER, these also with a
//     letter wrong, and after it ":" or "*";
//   - "*" alone, or before ":";
//   - ":" before what is written as the name of an endpoint.
//
// It is "" where the text is none of these.
func (t *Topology) expected(inner string) phrase {
	if strings.Contains(inner, "\n") {
		return ""
	}
	mark := strings.IndexAny(inner, ":*")
	if mark < 0 {
		return ""
	}
	name, rest := strings.TrimRight(inner[:mark], " \t"), inner[mark+1:]
	switch {
	case name != "":
	case inner[mark] == '*' && (rest == "" || rest[0] == ':'):
		return "the name of a group, or what names of nodes begin with, was expected before * (write << for a <)"
	case inner[mark] == ':':
		if endpoint, _, _ := strings.Cut(rest, ":"); isEndpointName(endpoint) {
			return "the name of a node was expected before : (write << for a <)"
		}
		return ""
	}
	var form string
	switch known := t.known(name); {
	case known == "":
		return ""
	case known == "NAME" || known == "FOLDER":
		form = "<" + known + ">"
	case t.byGroup[known] != nil, inner[mark] == '*':
		form = fmt.Sprintf("<%s*>, <%[1]s*:ENDPOINT>, <%[1]s*:ENDPOINT:host> or <%[1]s*:ENDPOINT:port>", Brief(known, maxQuoted))
	default:
		form = fmt.Sprintf("<%s>, <%[1]s:ENDPOINT>, <%[1]s:ENDPOINT:host> or <%[1]s:ENDPOINT:port>", Brief(known, maxQuoted))
	}
	return phrase(form + " was expected (write << for a <)")
}

// known is the name of this topology's that one is, or the one of those that each node has
// of its own that it is but for a letter; "" if there is none.
func (t *Topology) known(name string) string {
	if isOwn(name) || t.Find(name) != nil || t.byGroup[name] != nil {
		return name
	}
	for _, own := range ownNames { // and not of all nodes, as a template may have a million such texts
		if len(name) > 3 && len(name) <= len(own)+1 && distance(name, own) <= 1 {
			return own
		}
	}
	return ""
}

// names are what placeholders may begin with, no more than Nearest looks at.
func (t *Topology) names() []string {
	names := ownNames[:]
	for _, g := range t.Groups[:min(len(t.Groups), MaxWords/4)] {
		names = append(names, g.Section)
	}
	for _, n := range t.Nodes[:min(len(t.Nodes), MaxWords-len(names))] {
		names = append(names, n.Name)
	}
	return names
}

// isText reports whether a piece is neither a placeholder nor meant to be one.
func (p piece) isText() bool { return p.name == "" && p.expected == "" }

// isOwn reports whether a placeholder of this name is what each node has of its own.
func isOwn(name string) bool { return slices.Contains(ownNames[:], name) }

// ownNames are the placeholders of what each node has of its own.
var ownNames = [...]string{"SELF", "NAME", "FOLDER"}

// nodes are the nodes that a placeholder in a text of n refers to. If there is
// none, it is a mistake if it is meant to be one, and text as it is if it
// does not look like a name, or has a part that no address has. Nor does a number alone, which may be the priority of
// a line of syslog.
func (t *Topology) nodes(n *Node, p piece) (of []*Node, isMeant bool) {
	switch {
	case p.isAll:
		of = t.members(p.name)
		return of, len(of) > 0 || p.isPart() && (p.endpoint != "" || !isNumber(p.name))
	case p.name == "SELF", isOwn(p.name) && p.endpoint == "":
		return []*Node{n}, true
	}
	if found := t.Find(p.name); found != nil {
		return []*Node{found}, true
	}
	return nil, t.byGroup[p.name] != nil || p.isPart() && isWritten(p.name) && (p.endpoint != "" || !isNumber(p.name))
}

// isPart reports whether a placeholder stands for an address, or for a part that one has.
func (p piece) isPart() bool { return p.part == "" || p.part == "host" || p.part == "port" }

// members are the nodes of a group, else those whose names begin with a text, in the
// order of the file.
func (t *Topology) members(name string) []*Node {
	if g := t.byGroup[name]; g != nil {
		return g.Nodes
	}
	t.sorting.Do(func() { // what a script has two nodes do may ask for it at the same time
		t.sorted = slices.Clone(t.Nodes)
		slices.SortStableFunc(t.sorted, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	})
	first, _ := slices.BinarySearchFunc(t.sorted, name, func(n *Node, name string) int { return strings.Compare(n.Name, name) })
	last := first
	for last < len(t.sorted) && strings.HasPrefix(t.sorted[last].Name, name) {
		last++
	}
	of := slices.Clone(t.sorted[first:last])
	slices.SortFunc(of, func(a, b *Node) int { return cmp.Or(a.Line-b.Line, a.Index-b.Index) })
	return of
}

// wrong says what is wrong with a placeholder in a text of n, or nothing.
func (t *Topology) wrong(n *Node, p piece, of []*Node, isMeant bool) phrase {
	switch g := t.byGroup[p.name]; {
	case p.expected != "":
		return p.expected
	case len(of) == 0 && !isMeant:
		return ""
	case len(of) == 0 && isOwn(p.name) && !p.isAll:
		return phrase(fmt.Sprintf("<%s> has no endpoints: <%[1]s> or <SELF:%[2]s> was expected (write << for a <)", p.name,
			Brief(p.endpoint, maxQuoted)))
	case len(of) == 0 && g != nil && !p.isAll:
		of, suffix := Brief(p.name, maxQuoted), ""
		if p.endpoint != "" {
			suffix = ":" + Brief(p.endpoint, maxQuoted)
		}
		return phrase(fmt.Sprintf("[%s] has count = %d: <%[1]s1%[3]s> for one of its nodes, or <%[1]s*%[3]s> for all, was expected",
			of, len(g.Nodes), suffix))
	case len(of) == 0:
		what := "node"
		if p.isAll {
			what = "group or node that begins with"
		}
		return phrase(fmt.Sprintf("there is no %s %q%s (write << for a <)", what, Brief(p.name, maxQuoted), t.meant(p)))
	case p.endpoint == "":
		return ""
	case !p.isPart():
		return phrase(fmt.Sprintf("an address has no part %q: host or port was expected (write << for a <)", Brief(p.part, maxQuoted)))
	}
	for i, one := range of {
		switch {
		case i > 0 && one.Section == of[i-1].Section:
		case one.lines["value."+p.endpoint] > 0:
			if p.part != "" {
				return phrase(fmt.Sprintf("value.%s of [%s] is a text, which has no %s", p.endpoint, Brief(one.Section, maxQuoted), p.part))
			}
		case one.lines["listen."+p.endpoint] == 0:
			return phrase(fmt.Sprintf("[%s] has no listen.%s%s", Brief(one.Section, maxQuoted), Brief(p.endpoint, maxQuoted),
				t.meantOf(p.endpoint, one)))
		}
	}
	return ""
}

// meant says which placeholder one was meant to be, or nothing.
func (t *Topology) meant(p piece) string {
	if t.file.full() || p.isAll && len(p.name) < 3 || len(p.name) > maxWord {
		return ""
	}
	var names []string
	for _, name := range t.names() {
		switch {
		case isOwn(name) && !p.isAll && distance(strings.ToUpper(p.name), name) <= 1:
			names = []string{name}
		case !isOwn(name) && p.isAll == (t.byGroup[name] != nil):
			names = append(names, name)
			continue
		default:
			continue
		}
		break
	}
	nearest := Nearest(p.name, names)
	if nearest == "" {
		return ""
	}
	form := "<" + nearest
	if p.isAll {
		form += "*"
	}
	for _, rest := range []string{p.endpoint, p.part} {
		if rest != "" {
			form += ":" + Brief(rest, maxQuoted)
		}
	}
	return ": did you mean " + form + ">?"
}

// portOf is an endpoint whose port a node refers to by <node:NAME:port>, so that the
// host of <node> is the one at which it reaches that endpoint. other is a second one.
type portOf struct{ endpoint, other string }

// addPort keeps that a text refers to the port of an endpoint.
func addPort(hosts map[string]portOf, p piece, of []*Node) map[string]portOf {
	if p.part != "port" || p.name == "SELF" && !p.isAll {
		return hosts
	}
	for _, one := range of {
		if hosts == nil {
			hosts = map[string]portOf{}
		}
		switch known := hosts[one.Name]; known.endpoint {
		case "", p.endpoint:
			hosts[one.Name] = portOf{p.endpoint, known.other}
		default:
			hosts[one.Name] = portOf{known.endpoint, p.endpoint}
		}
	}
	return hosts
}

// ambiguous says what is wrong with <node> where the ports of two endpoints of it are
// referred to, or nothing.
func ambiguous(hosts map[string]portOf, n *Node, p piece, of []*Node) phrase {
	if p.endpoint != "" || isOwn(p.name) {
		return ""
	}
	for _, one := range of {
		if at := hosts[one.Name]; at.other != "" && one != n {
			return phrase(fmt.Sprintf("the ports of two of its endpoints are referred to, "+
				"which may be reached at different hosts: <%s:%s:host> or <%[1]s:%[3]s:host> was expected",
				Brief(one.Name, maxQuoted), Brief(at.endpoint, maxQuoted), Brief(at.other, maxQuoted)))
		}
	}
	return ""
}

// Expand fills in the placeholders of any text, as in a value of the node's section:
// for templates, setup, ready keys, and what a script has a node do. The error names
// every placeholder of which there is no node, endpoint or value, up to ten of them.
func (t *Topology) Expand(n *Node, p Place, text string) (string, error) {
	if !strings.Contains(text, "<") {
		return text, nil
	}
	const most = 10
	var errs []error
	var hosts map[string]portOf
	t.pieces(text, func(one piece) {
		if one.name != "" {
			of, _ := t.nodes(n, one)
			hosts = addPort(hosts, one, of)
		}
	})
	for name, at := range n.hosts {
		if _, ok := hosts[name]; !ok && hosts != nil {
			hosts[name] = at
		}
	}
	if hosts == nil {
		hosts = n.hosts
	}
	t.pieces(text, func(one piece) {
		if one.isText() || len(errs) > most {
			return
		}
		of, isMeant := t.nodes(n, one)
		what := cmp.Or(t.wrong(n, one, of, isMeant), ambiguous(hosts, n, one, of))
		switch {
		case what == "":
		case len(errs) == most:
			errs = append(errs, errors.New("… and more"))
		default:
			errs = append(errs, fmt.Errorf("the placeholder %s: %s", Brief(one.text, maxQuoted), what))
		}
	})
	if len(errs) > 0 {
		return "", errors.Join(errs...)
	}
	return t.fillAt(n, p, hosts, text), nil
}

// fill replaces the placeholders in a value of a node's section, which has been
// checked.
func (t *Topology) fill(n *Node, a Place, value string) string { return t.fillAt(n, a, n.hosts, value) }

func (t *Topology) fillAt(n *Node, a Place, hosts map[string]portOf, value string) string {
	if !strings.Contains(value, "<") {
		return value
	}
	var b strings.Builder
	t.pieces(value, func(p piece) {
		if p.name == "" {
			b.WriteString(p.text)
			return
		}
		of, _ := t.nodes(n, p)
		if len(of) == 0 {
			b.WriteString(p.text)
		}
		for i, one := range of {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(t.filled(n, a, hosts, p, one))
		}
	})
	return b.String()
}

// filled is what one placeholder becomes for one of the nodes that it refers to.
func (t *Topology) filled(n *Node, a Place, hosts map[string]portOf, p piece, of *Node) string {
	switch {
	case !p.isAll && p.name == "NAME" && p.endpoint == "":
		return n.Name
	case !p.isAll && p.name == "FOLDER" && p.endpoint == "":
		return t.WorkingFolder(n, a)
	case p.endpoint == "":
		if at, ok := hosts[of.Name]; ok && of != n {
			host, _, err := net.SplitHostPort(a.Reach(n.Name, of.Name, at.endpoint))
			if err == nil {
				return host
			}
		}
		return a.Host(of.Name)
	case of.lines["value."+p.endpoint] > 0:
		for _, v := range of.Values {
			if v.Name == p.endpoint {
				return t.fill(of, a, v.Text)
			}
		}
	}
	whole := ""
	if of == n {
		whole = address(a, n.Name, p.endpoint)
	} else {
		whole = a.Reach(n.Name, of.Name, p.endpoint)
	}
	host, port, err := net.SplitHostPort(whole)
	switch {
	case err != nil, p.part == "":
		return whole
	case p.part == "host":
		return host
	}
	return port
}

func address(a Addresses, node, endpoint string) string {
	return net.JoinHostPort(a.Host(node), strconv.Itoa(a.Port(node, endpoint)))
}

// nodeText is a text of a node that may have placeholders.
type nodeText struct {
	key  string
	file string // "" for the ini
	line int    // that the text begins at
	text string
	path string // the text, or what it was read from, if it may be the path of a file
}

// texts calls each with the node's texts that may have placeholders, in the order
// of the file; args and command have many.
func (n *Node) texts(each func(nodeText)) {
	templates := 0
	for _, k := range n.keys {
		if !k.isText && !strings.HasPrefix(k.key, "template.") {
			continue
		}
		words := []string{k.value}
		switch first, _, _ := strings.Cut(k.key, "."); first {
		case "args":
			words = n.Args
		case "command":
			words = n.Words
		case "setup", "ready", "value":
			each(nodeText{key: k.key, line: k.line, text: k.value})
			continue
		case "template":
			if templates < len(n.Templates) && "template."+n.Templates[templates].Name == k.key {
				one := n.Templates[templates]
				each(nodeText{key: k.key, file: one.file, line: one.line, text: one.Text, path: one.Source})
				templates++
			}
			continue
		}
		for _, word := range words {
			each(nodeText{key: k.key, line: k.line, text: word, path: word})
		}
	}
}

// checkPlaceholders finds what is wrong with the placeholders of a section.
func (t *Topology) checkPlaceholders(n *Node) {
	section := 1 // how many nodes have the texts
	if g := t.byGroup[n.Section]; g != nil && n.Index > 0 {
		section = len(g.Nodes)
	}
	var hosts map[string]portOf
	var bare []func()
	n.texts(func(of nodeText) {
		mistake := func(p piece, what phrase) {
			before := of.text[:p.at]
			line := of.line + strings.Count(before, "\n")
			switch {
			case of.file == "":
				t.file.mistakeAt(line, p.text, "%s has the placeholder %s, and %s", of.key, p.text, what)
			case of.file == t.Path:
				t.file.mistakeAt(line, p.text, "the template has the placeholder %s, and %s", p.text, what)
			default:
				col := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
				t.file.mistakeIn(of.file, line, col, "the template has the placeholder %s, and %s", p.text, what)
				t.loss.add(n.Section)
			}
		}
		t.pieces(of.text, func(p piece) {
			if p.isText() {
				return
			}
			nodes, isMeant := t.nodes(n, p)
			what := t.wrong(n, p, nodes, isMeant)
			refersValue := p.endpoint != "" && slices.ContainsFunc(nodes, func(one *Node) bool { return one.lines["value."+p.endpoint] > 0 })
			switch {
			case what != "":
			case refersValue && strings.HasPrefix(of.key, "value."):
				what = phrase(fmt.Sprintf("value.%s is a text with placeholders itself: an endpoint was expected",
					Brief(p.endpoint, maxQuoted)))
			case of.key == "cwd" && p.name == "FOLDER" && p.endpoint == "" && !p.isAll:
				what = "it is what cwd says"
			case of.key == "cwd" && refersValue:
				what = "a value may be of the folder that cwd says: an endpoint was expected"
			}
			if what != "" {
				mistake(p, what)
				return
			}
			if many := section * len(nodes); p.isAll {
				if t.referred += many; t.referred > maxReferred {
					t.referred -= many
					mistake(p, phrase(fmt.Sprintf("with it %d nodes refer to %d: at most %d times were expected of all placeholders together",
						section, len(nodes), maxReferred)))
					return
				}
			}
			hosts = addPort(hosts, p, nodes)
			if p.endpoint == "" && !isOwn(p.name) && len(nodes) > 0 && len(bare) < maxMistakes {
				bare = append(bare, func() {
					if what := ambiguous(hosts, n, p, nodes); what != "" {
						mistake(p, what)
					}
				})
			}
		})
	})
	if hosts == nil {
		return
	}
	for _, check := range bare {
		check()
	}
	n.hosts = hosts
	if g := t.byGroup[n.Section]; g != nil && n.Index > 0 {
		for _, one := range g.Nodes {
			one.hosts = hosts
		}
	}
}

// Tie is one node's reference to an endpoint of another.
type Tie struct{ From, To, Endpoint string }

// Ties are the pairs of nodes that the ini ties together by <node:NAME>, in
// the order of the file.
func (t *Topology) Ties() []Tie {
	var ties []Tie
	seen := map[Tie]bool{}
	for _, first := range t.sectionNodes() {
		var refers []piece
		first.texts(func(of nodeText) {
			t.pieces(of.text, func(p piece) {
				if p.endpoint != "" && p.name != "SELF" {
					refers = append(refers, p)
				}
			})
		})
		nodes := []*Node{first}
		if first.Index > 0 {
			nodes = t.byGroup[first.Section].Nodes
		}
		for _, n := range nodes {
			for _, p := range refers {
				all, _ := t.nodes(n, p)
				for _, of := range all {
					tie := Tie{n.Name, of.Name, p.endpoint}
					if of != n && of.lines["listen."+p.endpoint] > 0 && !seen[tie] {
						seen[tie] = true
						ties = append(ties, tie)
					}
				}
			}
		}
	}
	return ties
}
