package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	maxLine   = 64 << 10  // a longer line is written in pieces
	batchSize = 1 << 20   // what Lines reads at a time
	tailSize  = 256 << 10 // what Tail looks at
	tailLine  = 500       // bytes of a line that Tail returns
)

// Log is the log file of one node: what all its incarnations write, a line a
// line, each stamped with the run's time and marked "out" or "err":
//
//	0.012345 --- incarnation 1
//	0.023456 out listening on 127.0.0.1:8000
//
// A line of over 64 KiB is written in pieces, all but the last marked "out+" or
// "err+". Bytes are kept as they are. The file is written through at every
// read, so that it is whole whoever dies.
type Log struct {
	now     func() time.Duration
	changed func()
	out     lineWriter
	errs    lineWriter

	mu    sync.Mutex
	file  *os.File
	size  int64
	start int64 // of the present incarnation
	buf   []byte
	err   error
}

// CreateLog makes a log file. now is the run's clock. changed, if it is not
// nil, is called after new lines are in the file, by the goroutine that wrote
// them and without a lock.
func CreateLog(path string, now func() time.Duration, changed func()) (*Log, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("cannot make a log file: %w", err)
	}
	l := &Log{now: now, changed: changed, file: f}
	l.out = lineWriter{log: l, mark: "out"}
	l.errs = lineWriter{log: l, mark: "err"}
	return l, nil
}

// Begin marks the beginning of an incarnation; it is called before the process
// is started, so that all that it writes follows.
func (l *Log) Begin(incarnation int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = l.size
	l.stamp("---")
	l.buf = fmt.Appendf(l.buf, "incarnation %d\n", incarnation)
	l.write()
}

// Stdout is where the present incarnation's standard output goes.
func (l *Log) Stdout() io.Writer { return &l.out }

// Stderr is where the present incarnation's standard error goes.
func (l *Log) Stderr() io.Writer { return &l.errs }

// End completes the last lines of an incarnation that has ended.
func (l *Log) End() {
	l.mu.Lock()
	ended := l.out.end()
	ended = l.errs.end() || ended
	l.write()
	l.mu.Unlock()
	if ended && l.changed != nil {
		l.changed()
	}
}

// Close closes the file and returns the first error of writing it.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.file.Close()
	if l.err != nil {
		return l.err
	}
	return err
}

// stamp begins a line in the buffer. The lock is held, as for write.
func (l *Log) stamp(mark string) {
	t := l.now()
	l.buf = strconv.AppendInt(l.buf, int64(t/time.Second), 10)
	l.buf = fmt.Appendf(l.buf, ".%06d ", t%time.Second/time.Microsecond)
	l.buf = append(append(l.buf, mark...), ' ')
}

// write writes the buffer. After an error nothing more is written: the file
// ends there, and what the node writes is read on and lost.
func (l *Log) write() {
	if l.err == nil && len(l.buf) > 0 {
		var n int
		n, l.err = l.file.WriteAt(l.buf, l.size)
		if l.err == nil {
			l.size += int64(n)
		}
	}
	if l.buf = l.buf[:0]; cap(l.buf) > 4*maxLine {
		l.buf = nil
	}
}

// lineWriter makes lines of one stream.
type lineWriter struct {
	log     *Log
	mark    string
	partial []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	l := w.log
	l.mu.Lock()
	n := len(p)
	wrote := false
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := maxLine - len(w.partial)
		switch {
		case i >= 0 && i <= room:
			l.stamp(w.mark)
			l.buf = append(append(l.buf, w.partial...), p[:i+1]...)
			p = p[i+1:]
			w.partial = w.partial[:0]
		case len(p) > room:
			l.stamp(w.mark + "+")
			l.buf = append(append(append(l.buf, w.partial...), p[:room]...), '\n')
			p = p[room:]
			w.partial = w.partial[:0]
		default:
			w.partial = append(w.partial, p...)
			p = nil
			continue
		}
		wrote = true
	}
	l.write()
	l.mu.Unlock()
	if wrote && l.changed != nil {
		l.changed()
	}
	return n, nil
}

func (w *lineWriter) end() bool {
	if len(w.partial) == 0 {
		return false
	}
	w.log.stamp(w.mark)
	w.log.buf = append(append(w.log.buf, w.partial...), '\n')
	w.partial = nil
	return true
}

// Line is one line of a log.
type Line struct {
	T      time.Duration // of the run, when it was read from the node
	Stream string        // "out" or "err"
	Part   bool          // a piece of a line that goes on in the stream's next
	Text   string        // without its newline
	Offset int64         // where it begins in the file
}

// Start is where the present incarnation begins in the file.
func (l *Log) Start() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

// Size is where the file ends.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Lines reads whole lines back, from an offset that Start, Size or an earlier
// call gave, as many as are in the next MiB, and says where to read on: where
// that is from itself, there are no more yet.
func (l *Log) Lines(from int64) (lines []Line, next int64, err error) {
	return l.lines(from, l.Size())
}

func (l *Log) lines(from, size int64) ([]Line, int64, error) {
	b := make([]byte, min(max(size-from, 0), batchSize))
	if _, err := l.file.ReadAt(b, from); err != nil {
		return nil, from, err
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	var lines []Line
	at := from
	for raw := range bytes.Lines(b) {
		if line, ok := parseLine(raw); ok {
			line.Offset = at
			lines = append(lines, line)
		}
		at += int64(len(raw))
	}
	return lines, at, nil
}

// parseLine undoes stamp; false for the mark of an incarnation.
func parseLine(raw []byte) (Line, bool) {
	stamp, rest, _ := bytes.Cut(bytes.TrimSuffix(raw, []byte("\n")), []byte(" "))
	mark, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok || string(mark) == "---" {
		return Line{}, false
	}
	t, err := time.ParseDuration(string(stamp) + "s")
	stream, part := bytes.CutSuffix(mark, []byte("+"))
	return Line{T: t, Stream: string(stream), Part: part, Text: string(text)}, err == nil
}

// Tail returns the last lines of the present incarnation, at most n and each
// cut at 500 bytes, for an error to quote.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	start, size := l.start, l.size
	l.mu.Unlock()
	from := max(start, size-tailSize)
	lines, _, err := l.lines(from, size)
	if err != nil {
		return nil
	}
	if from > start && len(lines) > 0 {
		lines = lines[1:] // it may have begun before
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		if out[i] = line.Text; len(line.Text) > tailLine {
			out[i] = line.Text[:tailLine] + "…"
		}
	}
	return out
}
