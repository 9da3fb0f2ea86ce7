package topology

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/ini.v1"
)

// file is an ini as it is read: its sections and keys in their order, each with
// its line. The values are those of package ini; the lines and what is double
// are found by scanning the same bytes, for that package tells neither, and
// stops at the first mistake.
type file struct {
	path     string
	sections []*section
	mistakes Mistakes
}

type section struct {
	name string
	line int
	keys []keyValue
}

type keyValue struct {
	key, value string
	line       int
	bare       bool // a key without "="
}

func (f *file) mistake(line int, format string, args ...any) {
	f.mistakes = append(f.mistakes, &Mistake{File: f.path, Line: line, Text: fmt.Sprintf(format, args...)})
}

// parser is how package ini is told to read: "=" alone divides a key from its
// value, a comment at the end of a line begins with a space, and nothing is
// inherited, continued, merged or expanded.
var parser = ini.LoadOptions{
	KeyValueDelimiters:       "=",
	AllowBooleanKeys:         true,
	SpaceBeforeInlineComment: true,
	IgnoreContinuation:       true,
	SkipUnrecognizableLines:  true,
	AllowNonUniqueSections:   true,
	ChildSectionDelimiter:    "\x00",
}

// quoted is a value in quotes, which keep all that is in them, and what may
// follow it.
var quoted = regexp.MustCompile(`^\s*"([^"]*)"\s*(?:[#;].*)?$`)

// scan reads the file; what is wrong with its form becomes mistakes.
func scan(path string, data []byte) *file {
	f := &file{path: path}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	seen := map[string]int{}
	var current *section
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		switch {
		case !utf8.ValidString(text):
			f.mistake(number, "the line is not UTF-8")
		case strings.IndexFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }) >= 0:
			f.mistake(number, "the line has a control character")
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[':
			current = f.section(text, number, seen)
		case current == nil:
			f.mistake(number, "%q comes before the first section: a section such as [leader] was expected", text)
		default:
			f.key(current, text, number)
		}
	}
	return f
}

func (f *file) section(text string, line int, seen map[string]int) *section {
	name, rest, closed := strings.Cut(text[1:], "]")
	rest = strings.TrimSpace(rest)
	s := &section{name: strings.TrimSpace(name), line: line}
	switch {
	case !closed:
		f.mistake(line, "%q: a ] at the end of the section's name was expected", text)
	case rest != "" && rest[0] != '#' && rest[0] != ';':
		f.mistake(line, "%q: nothing was expected after ]", text)
	case s.name == "":
		f.mistake(line, "a section without a name")
	case seen[s.name] > 0:
		f.mistake(line, "section [%s] is there twice: it begins at line %d already", s.name, seen[s.name])
	default:
		seen[s.name] = line
		f.sections = append(f.sections, s)
	}
	return s // also where it is wrong, so that its keys are read past
}

// key reads one line of a section. The value is read by package ini, from a
// file that has this line alone.
func (f *file) key(s *section, text string, line int) {
	name, rest, hasValue := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if name == "" || strings.ContainsAny(name, "\"'`[]<>") || strings.ContainsFunc(name, unicode.IsSpace) && hasValue {
		f.mistake(line, "%q is no key: key = value was expected", text)
		return
	}
	if !hasValue {
		name, _, _ = strings.Cut(name, " ") // a comment may follow
		if fields := strings.Fields(text); len(fields) > 1 && fields[1][0] != '#' && fields[1][0] != ';' {
			f.mistake(line, "%q is no key: key = value was expected", text)
			return
		}
	}
	for _, k := range s.keys {
		if k.key == name {
			f.mistake(line, "%s is there twice in [%s]: line %d has it already", name, s.name, k.line)
			return
		}
	}
	value := ""
	if m := quoted.FindStringSubmatch(rest); m != nil {
		value = m[1] // which package ini would cut at a comment sign
	} else if hasValue {
		loaded, err := ini.LoadSources(parser, []byte("[s]\n"+text+"\n"))
		if err != nil || !loaded.Section("s").HasKey(name) {
			f.mistake(line, "%q cannot be read: key = value was expected (%v)", text, err)
			return
		}
		value = loaded.Section("s").Key(name).Value()
	}
	s.keys = append(s.keys, keyValue{key: name, value: value, line: line, bare: !hasValue})
}
