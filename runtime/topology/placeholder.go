package topology

import (
	"net"
	"strconv"
	"strings"
)

// piece is a part of a value: text as it is, or what has the form of a
// placeholder.
type piece struct {
	text           string // as it is written
	name, endpoint string // of a placeholder; else ""
}

// pieces takes a value apart. "<<" stands for a "<" before what would be a
// placeholder with one of them, and for itself elsewhere: of "<<<SELF>", the
// first two are a "<".
func pieces(value string, each func(piece)) {
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
		p, ok := parsePlaceholder(value[opened:end])
		if value[end] != '>' || !ok {
			each(piece{text: value[:end]})
			value = value[end:]
			continue
		}
		marks := opened - start
		before := value[:start] + strings.Repeat("<", marks/2)
		if marks%2 == 0 {
			before += p.text[1:]
		}
		if before != "" {
			each(piece{text: before})
		}
		if marks%2 == 1 {
			each(p)
		}
		value = value[end+1:]
	}
	if value != "" {
		each(piece{text: value})
	}
}

// parsePlaceholder reads what is between "<" and ">".
func parsePlaceholder(inner string) (p piece, ok bool) {
	name, endpoint, colon := strings.Cut(inner, ":")
	if !isNodeName(name) || name != strings.TrimSpace(name) || colon && !isEndpointName(endpoint) {
		return piece{}, false
	}
	return piece{text: "<" + inner + ">", name: name, endpoint: endpoint}, true
}

// node is the node that a placeholder in a value of n refers to; nil if there is
// none. Then it is a mistake if it is meant to be one, and text as it is if it
// does not look like a name. Nor does a number alone, which may be the priority of
// a line of syslog.
func (t *Topology) node(n *Node, p piece) (of *Node, isMeant bool) {
	if p.name == "SELF" || p.name == "NAME" && p.endpoint == "" {
		return n, true
	}
	of = t.Find(p.name)
	return of, of != nil || isWritten(p.name) && (p.endpoint != "" || !isNumber(p.name))
}

// fill replaces the placeholders in a value.
func (t *Topology) fill(n *Node, a Place, value string) string {
	if !strings.Contains(value, "<") {
		return value
	}
	var b strings.Builder
	pieces(value, func(p piece) {
		of, _ := t.node(n, p)
		switch {
		case p.name == "" || of == nil:
			b.WriteString(p.text)
		case p.name == "NAME" && p.endpoint == "":
			b.WriteString(n.Name)
		case p.endpoint == "":
			b.WriteString(a.Host(of.Name))
		case of == n:
			b.WriteString(address(a, n.Name, p.endpoint))
		default:
			b.WriteString(a.Reach(n.Name, of.Name, p.endpoint))
		}
	})
	return b.String()
}

func address(a Addresses, node, endpoint string) string {
	return net.JoinHostPort(a.Host(node), strconv.Itoa(a.Port(node, endpoint)))
}

// texts calls each with the node's values that may have placeholders, in the order
// of the file; args has many.
func (n *Node) texts(each func(k keyValue, text string)) {
	for _, k := range n.keys {
		switch {
		case !k.isText:
		case k.key == "args":
			for _, word := range n.Args {
				each(k, word)
			}
		default:
			each(k, k.value)
		}
	}
}

func (t *Topology) checkPlaceholders(n *Node) {
	n.texts(func(k keyValue, text string) {
		pieces(text, func(p piece) {
			if p.name == "" {
				return
			}
			of, isMeant := t.node(n, p)
			switch {
			case of == nil && isMeant:
				t.file.mistake(k.line, "%s has the placeholder %s, and there is no node %q%s (write << for a <)", k.key, p.text, p.name, t.meant(p.name))
			case of != nil && p.endpoint != "" && of.lines["listen."+p.endpoint] == 0:
				t.file.mistake(k.line, "%s has the placeholder %s, and [%s] has no listen.%s", k.key, p.text, of.Section, p.endpoint)
			}
		})
	})
}

func (t *Topology) meant(name string) string {
	if strings.EqualFold(name, "self") || strings.EqualFold(name, "name") {
		return ": did you mean <" + strings.ToUpper(name) + ">?"
	}
	if t.file.full() {
		return ""
	}
	var names []string
	for _, n := range t.Nodes[:min(len(t.Nodes), MaxWords)] {
		names = append(names, n.Name)
	}
	if n := Nearest(name, names); n != "" {
		return ": did you mean " + n + "?"
	}
	return ""
}

// Tie is one node's reference to an endpoint of another.
type Tie struct{ From, To, Endpoint string }

// Ties are the pairs of nodes that the ini ties together by <node:NAME>, in
// the order of the file.
func (t *Topology) Ties() []Tie {
	var ties []Tie
	seen := map[Tie]bool{}
	for _, n := range t.Nodes {
		n.texts(func(_ keyValue, text string) {
			pieces(text, func(p piece) {
				of, _ := t.node(n, p)
				if p.endpoint == "" || of == nil || of == n {
					return
				}
				if tie := (Tie{n.Name, of.Name, p.endpoint}); !seen[tie] {
					seen[tie] = true
					ties = append(ties, tie)
				}
			})
		})
	}
	return ties
}
