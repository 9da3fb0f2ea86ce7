package live

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
)

// keptLines are how many of the last lines that are printed a Screen can show.
const keptLines = 500

// spoolMemory bounds what a Screen keeps in memory of what is printed, in bytes; more goes
// to a file.
const spoolMemory = 1 << 20

// lines are what is printed while a Screen is on: the last of them to be shown, and all to
// be printed when it is off.
type lines struct {
	last []string
	part string // of a line that has not ended
	buf  bytes.Buffer
	file *os.File // what was printed before what buf has; nil where that is all
}

// add takes what is printed.
func (l *lines) add(p []byte) {
	for line := range strings.Lines(l.part + string(p)) {
		if l.part = ""; !strings.HasSuffix(line, "\n") {
			l.part = line
			break
		}
		l.last = append(l.last, strings.TrimSuffix(line, "\n"))
	}
	if len(l.last) > 2*keptLines {
		l.last = append(l.last[:0:0], l.last[len(l.last)-keptLines:]...)
	}
}

// keep keeps what is printed, for flush.
func (l *lines) keep(p []byte) {
	l.buf.Write(p)
	if l.buf.Len() < spoolMemory {
		return
	}
	if l.file == nil {
		l.file, _ = os.CreateTemp("", "dagon-star-*.lines") // else in memory
	}
	if l.file != nil {
		n, _ := l.file.Write(l.buf.Bytes())
		l.buf.Next(n)
	}
}

// flush prints what was kept.
func (l *lines) flush(w io.Writer) {
	if f := l.file; f != nil {
		l.file = nil
		if _, err := f.Seek(0, io.SeekStart); err == nil {
			for r := bufio.NewReader(f); err == nil; { // by lines: a part of a character is none
				var line []byte
				line, err = r.ReadBytes('\n')
				w.Write(line) // a terminal that is gone ends no run
			}
		}
		f.Close()
		os.Remove(f.Name())
	}
	w.Write(l.buf.Bytes())
	l.buf.Reset()
}
