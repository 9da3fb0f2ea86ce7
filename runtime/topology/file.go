package topology

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is read of a file, and told of it.
const (
	maxSize     = 16 << 20 // bytes of an ini
	maxMistakes = 100      // told one by one
	maxQuoted   = 150      // bytes of the file in a mistake, each time that it quotes
	maxText     = 400      // bytes of a mistake's text
)

// file is an ini as it is read: its sections and keys in their order, each with
// its line. A line is read as gopkg.in/ini.v1 reads it, which tests hold; that
// package tells no lines and nothing of what is double, stops at the first
// mistake, and takes 7 KB to read a line by itself.
type file struct {
	path     string
	data     []byte
	sections []*section
	headers  []*section // all lines that begin a section, in their order
	lost     bool       // a line may have begun a section, and nobody knows which
	mistakes Mistakes
	more     int            // mistakes beyond maxMistakes
	notices  []*Mistake     // no more than maxMistakes
	cut      map[int]string // by lines, what was taken for a comment and may be none
}

type section struct {
	name  string
	line  int
	keys  []keyValue
	lines map[string]int // of its keys
}

type keyValue struct {
	key, value string
	line       int
	bare       bool // a key without "="
	isText     bool // placeholders in the value are replaced
	below      bool // the value is the indented lines below it
}

// mistake adds a mistake, as long as there are not too many: what it quotes of
// the file is cut.
func (f *file) mistake(line int, format string, args ...any) {
	f.mistakeIn(f.path, line, 0, format, args...)
}

// mistakeIn is mistake, at a column of a file that the ini names.
func (f *file) mistakeIn(path string, line, col int, format string, args ...any) {
	if f.full() {
		f.more++
		return
	}
	m := f.told(line, format, args)
	m.File, m.Col = path, col
	f.mistakes = append(f.mistakes, m)
}

// notice adds a notice, as long as there are not too many.
func (f *file) notice(line int, format string, args ...any) { f.noticeAt(line, "", format, args...) }

// noticeAt is notice, about a part of the line; see mistakeAt.
func (f *file) noticeAt(line int, at, format string, args ...any) {
	if len(f.notices) < maxMistakes {
		m := f.told(line, format, args)
		m.at = at
		f.notices = append(f.notices, m)
	}
}

// phrase is a text of ours in a mistake, which is not cut as a quotation is.
type phrase string

func (f *file) told(line int, format string, args []any) *Mistake {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = Brief(s, maxQuoted)
		}
	}
	return &Mistake{File: f.path, Line: line, Text: Brief(fmt.Sprintf(format, args...), maxText)}
}

// full reports whether no more mistakes are told: there is no use in looking for
// what was meant.
func (f *file) full() bool { return len(f.mistakes) == maxMistakes }

// found are the mistakes by line, those in files that the ini names after its own, and
// the number of those that are not told.
func (f *file) found() Mistakes {
	f.place(f.mistakes)
	slices.SortStableFunc(f.mistakes, func(a, b *Mistake) int {
		switch {
		case a.File == b.File:
			return cmp.Or(a.Line-b.Line, a.Col-b.Col)
		case a.File == f.path:
			return -1
		case b.File == f.path:
			return 1
		}
		return strings.Compare(a.File, b.File)
	})
	if f.more == 0 {
		return f.mistakes
	}
	last := &Mistake{} // so that it stays the last, wherever it is sorted
	for _, m := range f.mistakes {
		if m.File == f.path {
			last = m
		}
	}
	return append(f.mistakes, &Mistake{File: f.path, Line: last.Line, Col: last.Col, Text: fmt.Sprintf("… and %d more", f.more)})
}

// quoted is a value in quotes, which keep all that is in them, and what may
// follow it.
var quoted = regexp.MustCompile(`^\s*"([^"]*)"\s*(?:[#;].*)?$`)

// scan reads the file; what is wrong with its form becomes mistakes.
func scan(path string, data []byte) *file {
	f := &file{path: path, data: data}
	if len(data) > maxSize {
		f.data, f.lost = nil, true
		f.mistake(0, "over %d MiB: no topology", maxSize>>20)
		return f
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	seen := map[string]int{}
	var current *section
	var long *longValue
	number, end := 0, 0
	for line := range bytes.Lines(data) {
		number++
		end += len(line)
		text := string(bytes.TrimSpace(line))
		indent := len(line) - len(bytes.TrimLeft(line, " \t"))
		switch {
		case !utf8.ValidString(text):
			f.mistake(number, "the line is not UTF-8")
			f.lost = f.lost || text[0] == '['
			continue
		case strings.IndexFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }) >= 0:
			f.mistake(number, "the line has a control character")
			f.lost = f.lost || text[0] == '['
			continue
		}
		if long != nil && (text == "" || f.goOn(long, text, number, indent, end)) {
			continue
		}
		f.finish(long, data)
		long = nil
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[':
			current = f.section(text, number, seen)
		case current == nil:
			f.mistake(number, "%q comes before the first section: a section such as [leader] was expected", text)
		default:
			if name := f.key(current, text, number); isLong(name) {
				long = &longValue{section: current, name: name, line: number, indent: indent, start: end, end: end}
			}
		}
	}
	f.finish(long, data)
	return f
}

// isLong reports whether the value of a key goes on over the lines below it that are
// indented more than the key.
func isLong(key string) bool {
	return key == "command" || key == "setup" || key == "ready.exec" || strings.HasPrefix(key, "template.")
}

// longValue is a value that goes on, while its lines are read.
type longValue struct {
	section    *section
	name       string
	line       int // of the key
	indent     int // of the key
	start, end int // in the file, of the lines below it
	comment    int // the line of a comment that has ended it, if one has
	told       bool
}

// isKeyLine is a line that nobody means as words of a command: [section], or key = value.
var isKeyLine = regexp.MustCompile(`^(\[[^\[\]:]+\]$|[a-z][\w.-]*[ \t]+=([ \t]|$))`)

// goOn reports whether a line that is not empty belongs to a value that goes on. A
// comment that is not indented as the value is ends it: it is a mistake if what
// follows is indented again.
func (f *file) goOn(v *longValue, text string, number, indent, end int) bool {
	switch {
	case indent <= v.indent && (text[0] == '#' || text[0] == ';'):
		v.comment = cmp.Or(v.comment, number)
	case indent <= v.indent:
		return false
	case v.comment == 0:
		v.end = end
	case !v.told:
		v.told = true
		f.mistake(number, "the line is indented as one of %s at line %d, which the comment at line %d has ended: "+
			"indent that comment too, or take it away", v.name, v.line, v.comment)
	}
	return true
}

// finish puts the lines of a value that went on into its key.
func (f *file) finish(v *longValue, data []byte) {
	if v == nil || v.section.lines[v.name] != v.line {
		return // the key is a mistake
	}
	k := &v.section.keys[len(v.section.keys)-1]
	if strings.TrimSpace(string(data[v.start:v.end])) == "" {
		if strings.HasPrefix(v.name, "template.") {
			return
		}
		quote := k.value[:min(1, len(k.value))]
		value, cut, missing := readValue(k.value)
		isWhole := missing == "" && cut == "" && !strings.Contains(value, quote)
		if isWhole && strings.ContainsAny(quote, "\"'`") {
			k.value = value // in quotes, as any other
		} else if v.name == "command" {
			k.value = f.uncommented(k.value, v.line)
		}
		return
	}
	below := undented(string(data[v.start:v.end]))
	switch {
	case v.name == "command":
		k.value = f.uncommented(k.value+"\n"+below, v.line)
	case !strings.HasPrefix(v.name, "template."):
		k.value += "\n" + below // from the key's line on, so that a line of it can be found
	case k.value != "":
		f.mistake(v.line, "%s has both a file, %q, and lines below it: one of them was expected", v.name, k.value)
	default:
		k.value, k.below = below, true
	}
}

// undented are lines without the white space that all of them begin with, and without
// what their ends have. Empty ones at the end are left out.
func undented(lines string) string {
	common, first := "", true
	for line := range strings.Lines(lines) {
		text := strings.TrimLeft(line, " \t\r\n")
		if text == "" {
			continue
		}
		indent := line[:len(line)-len(text)]
		if first {
			common, first = indent, false
		}
		same := 0
		for same < min(len(indent), len(common)) && indent[same] == common[same] {
			same++
		}
		common = common[:same]
	}
	var b strings.Builder
	b.Grow(len(lines) + 1)
	for line := range strings.Lines(lines) {
		b.WriteString(strings.TrimPrefix(strings.TrimRight(line, " \t\r\n"), common))
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// uncommented is the text of a command without its comments, which begin with "#" or
// ";" at the beginning of a line or after a space, outside of quotes. A backslash at the
// end of a line is left out too. line is that of the command.
func (f *file) uncommented(text string, line int) string {
	var b strings.Builder
	b.Grow(len(text))
	quote, before, first := byte(0), byte('\n'), line
	for i := 0; i < len(text); i++ {
		c := text[i]
		if before == '\n' && quote == 0 && line > first {
			if rest, _, _ := strings.Cut(text[i:], "\n"); isKeyLine.MatchString(rest) {
				f.mistake(line, "%q is indented, and so one of the lines of command at line %d: "+
					"to make it a line of its own, take away the indentation", rest, first)
			}
		}
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(text):
			if i++; text[i] != '\n' {
				b.WriteByte(c)
				b.WriteByte(text[i])
				before = text[i]
				continue
			}
			c = '\n'
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\'' || c == '`'):
			quote = c
		case quote == 0 && (c == '#' || c == ';') && strings.IndexByte(" \t\n", before) >= 0:
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return strings.TrimSpace(b.String())
			}
			i += end
			c = '\n'
		}
		if c == '\n' {
			line++
		}
		before = c
		b.WriteByte(c)
	}
	return strings.TrimSpace(b.String())
}

func (f *file) section(text string, line int, seen map[string]int) *section {
	name, rest, closed := strings.Cut(text[1:], "]")
	rest = strings.TrimSpace(rest)
	s := &section{name: strings.TrimSpace(name), line: line, lines: map[string]int{}}
	f.headers = append(f.headers, s)
	switch {
	case !closed:
		f.mistake(line, "%q: a ] at the end of the section's name was expected", text)
	case rest != "" && rest[0] != '#' && rest[0] != ';':
		f.mistakeAt(line, rest, "%q: nothing was expected after ]", text)
	case s.name == "":
		f.mistake(line, "a section without a name")
	}
	switch {
	case s.name == "":
		f.lost = true
	case seen[s.name] > 0:
		f.mistake(line, "section [%s] is there twice: it begins at line %d already", s.name, seen[s.name])
	default:
		seen[s.name] = line
		f.sections = append(f.sections, s)
	}
	return s // also where it is wrong, so that its keys are read past
}

// indented says what a line may lack that is no key and begins as a flag does.
func indented(text string) string {
	if strings.HasPrefix(text, "-") {
		return "; a line that goes on with the value above is indented more than its key"
	}
	return ""
}

// key reads one line of a section, and returns the key's name.
func (f *file) key(s *section, text string, line int) (name string) {
	name, rest, hasValue := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if name == "" || name == "-" || strings.ContainsAny(name, "\"'`[]<>") || strings.ContainsFunc(name, unicode.IsSpace) && hasValue {
		f.mistake(line, "%q is no key: key = value was expected%s", text, indented(text))
		return name
	}
	if !hasValue {
		if end := strings.IndexFunc(text, unicode.IsSpace); end > 0 { // a comment may follow
			name = text[:end]
			if after := strings.TrimSpace(text[end:]); after[0] != '#' && after[0] != ';' {
				f.mistake(line, "%q is no key: key = value was expected%s", text, indented(text))
				return name
			}
		}
	}
	if at := s.lines[name]; at > 0 {
		f.mistake(line, "%s is there twice in [%s]: line %d has it already", name, s.name, at)
		return name
	}
	value, cut, missing := strings.TrimSpace(rest), "", ""
	if !isLong(name) || strings.HasPrefix(name, "template.") {
		value, cut, missing = readValue(rest)
	}
	if missing != "" {
		f.mistake(line, "%q: the closing %s was expected on the same line", text, missing)
		return name
	}
	if seemsValue(name, value, cut) && len(f.cut) < maxMistakes {
		if f.cut == nil {
			f.cut = map[int]string{}
		}
		f.cut[line] = cut
		f.noticeAt(line, cut, "%s ends before %q, which is taken for a comment: to keep it, put back quotes around the value", name, cut)
	}
	s.lines[name] = line
	s.keys = append(s.keys, keyValue{key: name, value: value, line: line, bare: !hasValue})
	return name
}

// readValue reads what follows "=": a text that ends at the line's end, or at a
// space and a comment sign, or one in quotes. cut is what it has cut off a value, but for a comment after
// quotes; missing are the quotes that do not end.
func readValue(rest string) (value, cut, missing string) {
	rest = strings.TrimSpace(rest)
	if m := quoted.FindStringSubmatch(rest); m != nil {
		return m[1], "", "" // which package ini would cut at a comment sign
	}
	for _, quote := range []string{`"""`, "`"} {
		if inner, ok := strings.CutPrefix(rest, quote); ok {
			end := strings.LastIndex(inner, quote)
			if end < 0 {
				return "", "", quote
			}
			if cut = strings.TrimSpace(inner[end+len(quote):]); cut != "" && (cut[0] == '#' || cut[0] == ';') {
				cut = ""
			}
			return inner[:end], cut, ""
		}
	}
	end := strings.Index(rest, " #")
	if end < 0 {
		end = strings.Index(rest, " ;")
	}
	if end >= 0 {
		rest, cut = rest[:end], strings.TrimSpace(rest[end:])
	}
	rest = strings.TrimSpace(rest)
	for _, quote := range []string{"'", `"`} {
		if inner, ok := strings.CutPrefix(rest, quote); ok && strings.Index(inner, quote) == len(inner)-1 && inner != "" {
			return inner[:len(inner)-1], "", ""
		}
	}
	return rest, cut, ""
}

// seemsValue reports whether what was cut off a value seems to belong to it, so
// that it is told:
//
//   - it does not begin with a comment sign;
//   - the sign stands within quotes that are closed after it;
//   - the sign is a ";" after several words, and the value is passed on: it may be
//     a command of a shell, where ";" is followed by another;
//   - the sign is a ";" in a pattern;
//   - the sign is followed by a digit, as in "issue #5".
//
// Other comments at the end of a line are ordinary ones.
func seemsValue(key, value, cut string) bool {
	switch {
	case cut == "":
		return false
	case cut[0] != '#' && cut[0] != ';':
		return true
	case len(cut) > 1 && cut[1] >= '0' && cut[1] <= '9':
		return true
	}
	if open := openQuote(value); open != 0 && strings.IndexByte(cut, open) >= 0 {
		return true
	}
	if cut[0] == ';' && key == "ready.log" {
		return true
	}
	isKey := slices.ContainsFunc(nodeKeys[:], func(k Key) bool { return k.Name == key }) // and no flag
	return cut[0] == ';' && strings.Contains(value, " ") && !isKey
}

// openQuote is the quote that is open at the end of a text, or 0. One within a
// word, as in "don't", opens nothing.
func openQuote(text string) (open byte) {
	before := byte(' ')
	for i := range len(text) {
		c := text[i]
		switch {
		case open != 0 && c == open:
			open = 0
		case open == 0 && strings.IndexByte("\"'`", c) >= 0 && strings.IndexByte(" \t=([{,:;", before) >= 0:
			open = c
		}
		before = c
	}
	return open
}
