//go:build unix

package process

import (
	"bytes"
	"io"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openTTY opens a terminal of a size, whose master end can be waited for without a thread.
func openTTY(size Size) (master, slave *os.File, err error) {
	m, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	if size == (Size{}) {
		size = Size{80, 24}
	}
	if err := pty.Setsize(m, &pty.Winsize{Cols: uint16(size.Columns), Rows: uint16(size.Rows)}); err != nil {
		slave.Close()
		return nil, nil, err
	}
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		slave.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), m.Name()), slave, nil
}

// lineEnds leaves out the carriage returns before a newline: a terminal writes one
// unless its program has told it not to, and so does a program that has. Others are
// kept, as those of a progress bar.
type lineEnds struct {
	to   io.Writer
	kept int // carriage returns that may be before a newline
	buf  []byte
}

func (w *lineEnds) Write(p []byte) (int, error) {
	n := len(p)
	w.buf = w.buf[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			i = len(p)
		}
		if i > 0 {
			if p[0] != '\n' {
				w.release()
			}
			w.kept = 0
			w.buf = append(w.buf, p[:i]...)
		}
		if p = p[i:]; len(p) > 0 {
			w.kept++
			p = p[1:]
		}
	}
	return n, w.put()
}

// release lets go what was kept.
func (w *lineEnds) release() {
	for ; w.kept > 0; w.kept-- {
		w.buf = append(w.buf, '\r')
	}
}

// flush writes what was kept: nothing follows.
func (w *lineEnds) flush() {
	w.buf = w.buf[:0]
	w.release()
	w.put()
}

func (w *lineEnds) put() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.to.Write(w.buf)
	if cap(w.buf) > 4<<10 {
		w.buf = nil
	}
	return err
}
