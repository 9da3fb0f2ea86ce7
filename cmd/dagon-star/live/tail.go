package live

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// What is read of the end of a node's log: for its last line, and for its page.
const (
	lastBytes = 8 << 10
	openBytes = 256 << 10
)

// logs are the logs of a run's nodes, of which the ends are read.
type logs struct {
	folder string // "" as long as there is none
	last   map[string]tail
	open   tail // of the node whose page was shown last
	node   string
}

// tail is the end of a log, when it was so long.
type tail struct {
	size  int64
	lines []string
}

// lastLine is the last line of a node's log, "" where there is none.
func (l *logs) lastLine(node string) string {
	if l.folder == "" {
		return ""
	}
	if l.last == nil {
		l.last = map[string]tail{}
	}
	t := l.last[node]
	if t.read(l.path(node), lastBytes) {
		if n := len(t.lines); n > 1 {
			t.lines = t.lines[n-1:]
		}
		l.last[node] = t
	}
	if len(t.lines) == 0 {
		return ""
	}
	_, text := parse(t.lines[0])
	return text
}

// lines are the last lines of a node's log, as its page shows them.
func (l *logs) lines(node string) []string {
	if l.folder == "" {
		return nil
	}
	if l.node != node {
		l.node, l.open = node, tail{}
	}
	if l.open.read(l.path(node), openBytes) {
		for i, line := range l.open.lines {
			at, text := parse(line)
			l.open.lines[i] = at + "  " + text
		}
	}
	return l.open.lines
}

func (l *logs) path(node string) string { return filepath.Join(l.folder, "logs", node+".log") }

// read reads the lines at the end of a file, and reports whether there is another end than
// the last time. What cannot be read is as it was.
func (t *tail) read(path string, most int64) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() == t.size || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	from := max(info.Size()-most, 0)
	text := make([]byte, info.Size()-from)
	n, err := f.ReadAt(text, from)
	if err != nil && err != io.EOF {
		return false
	}
	t.size, t.lines = info.Size(), split(string(text[:n]), from > 0)
	return true
}

// split are the lines of the end of a log; of one that is cut, not what stands before its
// first whole line, unless it is all there is.
func split(text string, isCut bool) []string {
	if first := strings.IndexByte(text, '\n'); isCut && first >= 0 && first+1 < len(text) {
		text = text[first+1:]
	}
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// parse takes a line of a node's log apart: when it began, in seconds to the millisecond,
// and what the node wrote. A line that is none of a log's is text.
func parse(line string) (at, text string) {
	stamp, rest, ok := strings.Cut(line, " ")
	if !ok || strings.Trim(stamp, "0123456789.") != "" {
		return "", line
	}
	if dot := strings.IndexByte(stamp, '.'); dot >= 0 && len(stamp) > dot+4 {
		stamp = stamp[:dot+4]
	}
	mark, text, ok := strings.Cut(rest, " ")
	switch {
	case mark == "---":
		return stamp, rest
	case ok && strings.Trim(mark, "+") == "out", ok && strings.Trim(mark, "+") == "err":
		return stamp, text
	}
	return stamp, rest
}
