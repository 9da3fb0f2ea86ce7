package output

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/internal/logfile"
)

const (
	maxPiece  = 1 << 20  // bytes of a line that stand in one line of the file
	blockSize = 64 << 10 // what is read back at a time
	none      = -1
)

// Log is the log file of one node: what all its incarnations write, a line a
// line, each stamped with the run's time and marked "out" or "err":
//
//	0.012345 --- incarnation 1
//	0.023456 out listening on 127.0.0.1:8000
//	1.034567 out+ Password?
//	1.045678 err warning: no terminal
//	2.056789 +out hunter2
//	2.067890 out Your name:
//
// Bytes are kept as they are, and are in the file as soon as they have been read
// from the node. A line that has not ended is so at the end of the file: it has no
// newline yet, and what follows is put behind it. A line stands in pieces where the
// other stream wrote before it had ended, and where it is longer than a MiB: a "+"
// behind the mark says that the line goes on in the stream's next piece, a "+"
// before it that the piece goes on with the line. Each piece has the time at which
// its first byte was read. The end of a stream ends its last line, and so does that of
// the incarnation.
//
// The file is open only while it is used: see Logs. After an error of writing it,
// nothing more is written; what the node writes is read on and lost.
type Log struct {
	logs   *Logs
	handle handle
	most   int64 // bytes of a line in one line of the file: maxPiece
	out    stream
	errs   stream

	start atomic.Int64 // of the present incarnation

	mu     sync.Mutex // guards the file's end
	size   int64
	fixed  int64   // before it all lines of the file are whole and change no more
	whole  int64   // fixed, once the buffer is written
	open   *stream // whose piece the file ends with, without its newline
	textAt int64   // where the text of that piece begins
	ended  bool    // the present incarnation writes no more
	begun  []begun // in their order
	closed bool
	buf    []byte // to be written at size
	length int64  // of the file
	err    error

	spoilt atomic.Pointer[error] // what was first read back that is not what was written

	reading sync.Mutex // one search looks at a time
	block   block      // what was read last
	long    []byte     // a line that stands in pieces

	searching sync.Mutex // guards what follows, and what searches have found
	searches  []*Search
	follows   bool // a goroutine looks for them
	taken     map[string]*taken
	news      chan struct{}
}

// begun is where an incarnation begins in the file.
type begun struct {
	incarnation int
	at          int64
}

// stream is one of the two streams of a node. The log's lock guards it.
type stream struct {
	log   *Log
	mark  string
	index int
	first int64         // where the line under way begins in the file, or none
	began time.Duration // when its first byte was read, as it is stamped
	last  int64         // where its last byte stood when it was written
	wrote time.Duration // when that was
}

// Begin marks the beginning of an incarnation; it is called before the process
// is started, so that all that it writes follows.
func (l *Log) Begin(incarnation int) {
	l.mu.Lock()
	b := l.borrow()
	now := l.logs.now()
	l.endLines(now)
	l.start.Store(l.end())
	l.begun = append(l.begun, begun{incarnation, l.end()})
	l.ended = false
	l.stamp(now)
	l.buf = fmt.Appendf(l.buf, "--- incarnation %d\n", incarnation)
	l.whole = l.end()
	l.write()
	l.repay(b)
	l.mu.Unlock()
	l.searching.Lock()
	clear(l.taken)
	l.searching.Unlock()
	l.changed()
}

// Stdout is where the present incarnation's standard output goes.
func (l *Log) Stdout() io.Writer { return &l.out }

// Stderr is where the present incarnation's standard error goes.
func (l *Log) Stderr() io.Writer { return &l.errs }

// End completes the last lines of an incarnation that has ended.
func (l *Log) End() {
	l.mu.Lock()
	b := l.borrow()
	l.endLines(l.logs.now())
	l.write()
	l.repay(b)
	l.ended = true
	l.mu.Unlock()
	l.changed()
}

// Err is why the output could not be written, or nil. Nothing that came then is kept.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close ends the searches, closes the file, and returns the first error of writing
// it, or else says that the file is not what was written: somebody has removed it, or
// has put another in its place, it has another size, or something else was read back.
// What is written after it is lost, and the next Close says so.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	err, written := l.err, l.length
	if err != nil {
		written = 0 // nobody knows how much of it
	}
	l.mu.Unlock()
	l.changed()
	closing := l.logs.close(&l.handle, written)
	if spoilt := l.spoilt.Load(); err == nil && spoilt != nil {
		err = *spoilt
	}
	return cmp.Or(err, closing)
}

// changed tells the goroutine that searches, if there is one.
func (l *Log) changed() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// Write takes what was read of a stream. It never fails: see Log.
func (w *stream) Write(p []byte) (int, error) {
	l, n := w.log, len(p)
	if n == 0 {
		return 0, nil
	}
	l.mu.Lock()
	b := l.borrow()
	now := l.logs.now()
	for len(p) > 0 && l.err == nil {
		if l.open != w {
			l.interrupt()
			l.begin(w, now)
		}
		room := int(l.most - (l.end() - l.textAt))
		switch i := bytes.IndexByte(p, '\n'); {
		case i >= 0 && i <= room:
			l.buf = append(l.buf, p[:i]...)
			l.endLine(w)
			p = p[i+1:]
		case len(p) > room:
			l.buf = append(l.buf, p[:room]...)
			l.interrupt()
			p = p[room:]
		default:
			l.buf = append(l.buf, p...)
			p = nil
		}
	}
	w.last, w.wrote = l.end(), now
	l.write()
	l.repay(b)
	l.mu.Unlock()
	l.changed()
	return n, nil
}

// EndStream ends the line under way: the node has closed the stream, and may live on.
func (w *stream) EndStream() {
	l := w.log
	l.mu.Lock()
	b := l.borrow()
	l.endStream(w, l.logs.now())
	l.write()
	l.repay(b)
	l.mu.Unlock()
	l.changed()
}

// The lock is held for all that follows.

func (l *Log) borrow() *[]byte {
	b := l.logs.scratch()
	l.buf = (*b)[:0]
	return b
}

func (l *Log) repay(b *[]byte) {
	*b, l.buf = l.buf, nil
	l.logs.giveBack(b)
}

// end is where the file ends once the buffer is written.
func (l *Log) end() int64 { return l.size + int64(len(l.buf)) }

// stamp begins a line of the file.
func (l *Log) stamp(t time.Duration) {
	micros := int64(t / time.Microsecond)
	l.buf = append(strconv.AppendInt(l.buf, micros/1e6, 10), '.')
	for unit := int64(1e5); unit > 0; unit /= 10 {
		l.buf = append(l.buf, byte('0'+micros/unit%10))
	}
	l.buf = append(l.buf, ' ')
}

// begin begins a piece of a stream's line.
func (l *Log) begin(w *stream, now time.Duration) {
	at := l.end()
	l.stamp(now)
	if w.first == none {
		w.first, w.began = at, now.Truncate(time.Microsecond)
	} else {
		l.buf = append(l.buf, '+')
	}
	l.buf = append(append(l.buf, w.mark...), ' ')
	l.open, l.textAt = w, l.end()
}

// endLine ends the line whose piece is open.
func (l *Log) endLine(w *stream) {
	l.buf = append(l.buf, '\n')
	l.open, w.first, l.whole = nil, none, l.end()
}

// endLines ends the lines that are under way, that at the end of the file first.
func (l *Log) endLines(now time.Duration) {
	for _, w := range []*stream{l.open, &l.out, &l.errs} {
		if w != nil {
			l.endStream(w, now)
		}
	}
}

// endStream ends a stream's line, if one is under way.
func (l *Log) endStream(w *stream, now time.Duration) {
	if w.first == none || l.err != nil {
		return
	}
	if l.open != w {
		if l.interrupt(); l.err != nil {
			return
		}
		l.begin(w, now)
	}
	l.endLine(w)
}

// interrupt closes the open piece, whose line goes on: what stands of it moves by
// the "+" behind its mark. Nobody reads it without the lock until then.
func (l *Log) interrupt() {
	if l.open == nil {
		return
	}
	l.write()
	if l.err != nil {
		return
	}
	l.open = nil
	b := make([]byte, l.size-l.textAt+3)
	copy(b, "+ ")
	b[len(b)-1] = '\n'
	if err := l.readAt(b[2:len(b)-1], l.textAt); err != nil {
		l.fail(err)
		return
	}
	l.size = l.textAt - 1
	l.put(b)
	l.whole, l.fixed = l.size, l.size
}

// write writes the buffer.
func (l *Log) write() {
	if l.err == nil && len(l.buf) > 0 {
		l.put(l.buf)
		l.fixed = max(l.fixed, min(l.whole, l.size))
	}
	l.buf = l.buf[:0]
}

func (l *Log) put(b []byte) {
	if l.closed {
		l.fail(os.ErrClosed)
		return
	}
	err := l.logs.use(&l.handle, func(f *os.File) error {
		if info, err := f.Stat(); err != nil {
			return err
		} else if info.Size() != l.length && info.Mode().IsRegular() {
			return logfile.SizeError(l.handle.path, info.Size(), l.length)
		}
		_, err := f.WriteAt(b, l.size)
		return err
	})
	if err != nil {
		l.fail(err)
		return
	}
	l.size += int64(len(b))
	l.length = max(l.length, l.size)
}

// fail gives the file up: what stands of a line that has not ended is not read
// back.
func (l *Log) fail(err error) {
	l.err, l.open = fmt.Errorf("cannot write: %w", err), nil
	l.out.first, l.errs.first = none, none
	l.size, l.whole = l.fixed, l.fixed
}

func (l *Log) readAt(b []byte, off int64) error {
	err := l.logs.use(&l.handle, func(f *os.File) error {
		_, err := f.ReadAt(b, off)
		return err
	})
	switch {
	case err == io.EOF:
		return l.spoil("ends before byte %d", off+int64(len(b)))
	case err != nil && !errors.Is(err, os.ErrClosed):
		return l.spoil("cannot be read: %w", err)
	}
	return err
}

// spoil returns an error that says what of the file is not what was written, and has
// Close say so.
func (l *Log) spoil(format string, a ...any) error {
	err := fmt.Errorf("%s "+format+": who has changed it?", append([]any{l.handle.path}, a...)...)
	l.spoilt.CompareAndSwap(nil, &err)
	return err
}
