package topology

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A name is written in letters of any alphabet, digits, "_" and "-"; that of a
// node may have "." and "+" in it too, and single words may be apart. The
// functions here are all that says so, for sections, the key name, endpoints and
// placeholders.

// isNameChar reports whether every name may have a character.
func isNameChar(c rune) bool {
	return c == '_' || c == '-' || unicode.IsLetter(c) || unicode.IsMark(c) || unicode.IsNumber(c)
}

// isEndpointName reports whether an endpoint may have a name.
func isEndpointName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(c rune) bool { return !isNameChar(c) }) < 0
}

const nameExpected = "a name without / \\ < > : that does not begin with a dot and has at most 100 bytes"

// isNodeName reports whether a node may have a name. There are files and folders
// of that name. It is more than what is written as a name: older files have all
// sorts.
func isNodeName(name string) bool {
	return name != "" && len(name) <= 100 && !strings.ContainsAny(name, "/\\<>:") && name[0] != '.'
}

// isWritten reports whether a text is written as the name of a node, whether or
// not there is one.
func isWritten(name string) bool {
	if !isNodeName(name) || name != strings.TrimSpace(name) || strings.ContainsAny(name[:1], "-+") {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool { return !isNameChar(c) && c != '.' && c != '+' && c != ' ' }) < 0
}

// isNumber reports whether a text has nothing but the digits 0 to 9.
func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// Identifier is the node's section as an identifier of a script: "worker-1" is
// "worker_1". That of a node which count = makes has its number at the end.
func (n *Node) Identifier() string { return identifier(n.address()) }

// Identifier is the section as an identifier of a script, for the list of its nodes.
func (g *Group) Identifier() string { return identifier(g.Section) }

func identifier(section string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c >= '0' && c <= '9' || unicode.IsLetter(c) {
			return c
		}
		return '_'
	}, section)
}

// address is by what placeholders and scripts find a node beside its name: its
// section, with its number if it is one of several.
func (n *Node) address() string {
	if n.Index == 0 {
		return n.Section
	}
	return n.Section + strconv.Itoa(n.Index)
}

// listenVariable is the variable of the environment that tells a node where an
// endpoint of its own is: that of "sql-port" is DAGON_LISTEN_SQL_PORT.
func listenVariable(endpoint string) string {
	return "DAGON_LISTEN_" + strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, strings.ToUpper(endpoint))
}

// ownVariables are those that every node has in its environment; what the ini
// says of them does not count.
var ownVariables = [...]string{"DAGON_NAME", "DAGON_PHONE_HOME", "DAGON_RUN", "DAGON_INCARNATION", "DAGON_TOKEN", "DAGON_FOLDER"}

// checkVariables finds what would share a variable of the environment of a node.
func (t *Topology) checkVariables(n *Node) {
	of := map[string]Endpoint{}
	for _, e := range n.Endpoints {
		name := listenVariable(e.Name)
		if first, isTwice := of[name]; isTwice {
			t.file.mistake(n.lines["listen."+e.Name], "listen.%s has the variable %s in the environment, as listen.%s at "+
				"line %d has: give one of them another name",
				e.Name, name, first.Name, n.lines["listen."+first.Name])
			continue
		}
		of[name] = e
	}
	for _, v := range n.Env {
		line := n.lines["env."+v.Key]
		if e, isTwice := of[v.Key]; isTwice {
			t.file.notice(line, "env.%s takes the place of the address of listen.%s at line %d", v.Key, e.Name, n.lines["listen."+e.Name])
		}
		for _, own := range ownVariables {
			if v.Key == own {
				t.file.notice(line, "env.%s is passed over: dagon-star says what %[1]s is", own)
			}
		}
	}
}

// made says how a node came to a name that the ini does not have.
func made(nodes ...*Node) phrase {
	for _, n := range nodes {
		if n.Index > 0 {
			return phrase(fmt.Sprintf(" (count makes it of [%s])", Brief(n.Section, maxQuoted)))
		}
	}
	return ""
}

// checkPorts finds endpoints of a node at one port: two names of one socket, or a slip.
func (t *Topology) checkPorts(n *Node) {
	type place struct {
		network string
		port    int
	}
	of := map[place]Endpoint{}
	for _, e := range n.Endpoints {
		at := place{e.Network, e.Port}
		first, isTwice := of[at]
		switch {
		case e.Port == 0: // any that is free
		case isTwice:
			t.file.notice(n.lines["listen."+e.Name], "listen.%s is the %s port %d, as listen.%s at line %d is: only one socket can listen on it",
				e.Name, e.Network, e.Port, first.Name, n.lines["listen."+first.Name])
		default:
			of[at] = e
		}
	}
}

// checkNames finds nodes whose names cannot be told apart everywhere.
func (t *Topology) checkNames() {
	t.byName, t.bySection = make(map[string]*Node, len(t.Nodes)), make(map[string]*Node, len(t.Nodes))
	t.byGroup = make(map[string]*Group, len(t.Groups))
	for _, g := range t.Groups {
		t.byGroup[g.Section] = g
	}
	for _, n := range t.Nodes {
		if address := n.address(); n.Index == 0 || t.bySection[address] == nil {
			t.bySection[address] = n
		}
		if first := t.byName[n.Name]; first != nil {
			t.file.mistake(n.keyLine("name"), "two nodes are named %q: [%s] at line %d has that name already%s", n.Name, first.Section,
				first.Line, made(n, first))
			continue
		}
		t.byName[n.Name] = n
	}
	folded := make(map[string]*Node, len(t.Nodes))
	for _, n := range t.Nodes {
		line, lower := n.keyLine("name"), strings.ToLower(n.Name)
		if first := folded[lower]; first == nil {
			folded[lower] = n
		} else if first.Name != n.Name {
			t.file.notice(line, "%q and %q (line %d) differ in nothing but case: on a machine whose file names do not, they "+
				"share a log and a folder", n.Name, first.Name, first.keyLine("name"))
		}
		if other := t.bySection[n.Name]; other != nil && other != n {
			t.file.notice(line, "%q is the name of [%s], and [%s] at line %d is named %q: <%[1]s> and topology.node(%[1]q) "+
				"are the former", n.Name, n.Section, other.Section, other.Line, other.Name)
		}
		if isOwn(n.Name) {
			t.file.notice(line, "no placeholder means the node %q: <%[1]s> is what each node has of its own", n.Name)
		}
	}
}
