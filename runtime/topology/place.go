package topology

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// atValue says that a mistake is about the value of the key in its line.
const atValue = "="

// mistakeAt is mistake, about a part of the line: about what is written there as at, or
// about the value of its key if that is atValue.
func (f *file) mistakeAt(line int, at, format string, args ...any) {
	f.mistake(line, format, args...)
	if f.more == 0 {
		f.mistakes[len(f.mistakes)-1].at = at
	}
}

// place gives each of the mistakes in this file its column, in one pass over the text:
// that of what it is about, else of the first character that is no space. What it is
// about may stand on one of the indented lines below; then it gets that line too.
func (f *file) place(mistakes []*Mistake) {
	var own []*Mistake
	for _, m := range mistakes {
		if m.File == f.path && m.Line > 0 && m.Col == 0 {
			own = append(own, m)
		}
	}
	slices.SortStableFunc(own, func(a, b *Mistake) int { return a.Line - b.Line })
	rest, line := bytes.TrimPrefix(f.data, []byte("\xef\xbb\xbf")), 0
	text := ""
	for _, m := range own {
		for ; line < m.Line; line++ {
			var current []byte
			current, rest, _ = bytes.Cut(rest, []byte("\n"))
			if line+1 == m.Line {
				text = string(current)
			}
		}
		m.Col = columnOf(text, m.at)
		if m.at == "" || m.at == atValue || strings.Contains(text, m.at) {
			continue
		}
		below, beneath := rest, line
		for len(below) > 0 && (below[0] == ' ' || below[0] == '\t' || below[0] == '\r' || below[0] == '\n') {
			var current []byte
			current, below, _ = bytes.Cut(below, []byte("\n"))
			if beneath++; bytes.Contains(current, []byte(m.at)) {
				m.Line, m.Col = beneath, columnOf(string(current), m.at)
				break
			}
		}
	}
}

// columnOf is the column, counted in characters from 1, of a part of a line; see mistakeAt.
func columnOf(line, at string) int {
	start := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace))
	switch _, value, hasValue := strings.Cut(line, "="); {
	case at == atValue && hasValue && strings.TrimSpace(value) != "":
		start = len(line) - len(strings.TrimLeftFunc(value, unicode.IsSpace))
	case at != "" && at != atValue && strings.Contains(line, at):
		start = strings.Index(line, at)
	}
	return utf8.RuneCountInString(line[:start]) + 1
}

// loss is what the mistakes of an ini leave unknown: of what its sections are, and of
// what they would have defined.
type loss struct {
	all      bool            // which sections there are is not known
	sections map[string]bool // by names: something is wrong in them
}

// add keeps that something is wrong in a section.
func (l *loss) add(section string) {
	if l.sections == nil {
		l.sections = map[string]bool{}
	}
	l.sections[section] = true
}

// lose finds what the mistakes so far leave unknown.
func (t *Topology) lose() {
	f, lost := t.file, &t.loss
	if len(f.mistakes) == 0 {
		return
	}
	lost.all = lost.all || f.more > 0 || f.lost
	for _, m := range f.mistakes {
		if m.File != f.path {
			continue // checkPlaceholders has told whose template that is
		}
		after, isHeader := slices.BinarySearchFunc(f.headers, m.Line, func(s *section, line int) int { return s.line - line })
		switch {
		case isHeader:
			lost.add(f.headers[after].name)
		case after == 0:
			lost.all = true
		default:
			lost.add(f.headers[after-1].name)
		}
	}
	for _, n := range t.Nodes {
		lost.all = lost.all || n.lines["name"] > 0 && !isNodeName(n.Name)
	}
}

// Unreadable is the topology of an ini of which nothing is known.
func Unreadable(path string) *Topology {
	t := &Topology{Path: path, Settings: DefaultSettings(), file: &file{path: path}}
	t.loss.all = true
	t.checkNames()
	return t
}

// IsWhole reports whether nothing is wrong in the ini. A topology that is not whole is
// there to check what refers to it, and for no run.
func (t *Topology) IsWhole() bool { return !t.loss.all && len(t.loss.sections) == 0 }

// IsSure reports whether all that the ini says of a section is known: nothing in it is
// wrong.
func (t *Topology) IsSure(section string) bool { return !t.loss.all && !t.loss.sections[section] }

// MayDefine reports whether a section in which something is wrong may be meant to define
// a node, or a list of nodes, of this name, whether as the ini or as a script writes it.
func (t *Topology) MayDefine(name string) bool {
	if t.loss.all || t.loss.sections[name] {
		return true
	}
	base := strings.TrimRight(name, "0123456789")
	for section := range t.loss.sections {
		for _, known := range []string{section, identifier(section)} {
			rest, isOne := strings.CutPrefix(name, known)
			if isOne && (rest == "" || isNumber(rest)) || known == base {
				return true
			}
		}
	}
	return false
}
