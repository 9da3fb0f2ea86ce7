// Package output keeps what nodes write: a log file a node, which is written
// through at every read, and is read back by position, by time and from its end.
// Searches wait for lines in it. What is old is in the file, and not in memory.
package output

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/internal/logfile"
)

// mostOpen is how many log files are open at a time. More are only while more
// are read and written at one moment.
const mostOpen = 128

// Logs are the log files of a run. A file is open only while it is used, and for
// as long after that as it is among the last that were.
type Logs struct {
	now       func() time.Duration
	following sync.WaitGroup
	buffers   sync.Pool // *[]byte, for what is about to be written

	mu   sync.Mutex
	open []*handle
	tick uint64
}

// handle is the file of a log. The lock of the logs guards it.
type handle struct {
	path  string
	flags int // of its first opening
	file  *os.File
	made  os.FileInfo // as it was first opened
	users int
	used  uint64 // the tick of its last use
	shut  bool   // it is used no more
	err   error  // of closing it
}

// NewLogs makes the log files of a run; now is the run's clock.
func NewLogs(now func() time.Duration) *Logs {
	return &Logs{now: now, buffers: sync.Pool{New: func() any { return new([]byte) }}}
}

// Create makes a log. Its file is made, or emptied, when it is first used.
func (s *Logs) Create(path string) *Log {
	l := &Log{logs: s, most: maxPiece, taken: map[string]*taken{}, news: make(chan struct{}, 1)}
	l.handle = handle{path: path, flags: os.O_CREATE | os.O_TRUNC}
	l.out = stream{log: l, mark: "out", first: none}
	l.errs = stream{log: l, mark: "err", first: none, index: 1}
	return l
}

// use calls do with the open file of a handle.
func (s *Logs) use(h *handle, do func(*os.File) error) error {
	s.mu.Lock()
	s.tick++
	h.used = s.tick
	if h.shut {
		s.mu.Unlock()
		return os.ErrClosed
	}
	if h.file == nil {
		f, err := os.OpenFile(h.path, os.O_RDWR|h.flags, 0o666)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		if err := h.sameFile(f); err != nil {
			f.Close()
			s.mu.Unlock()
			return err
		}
		h.file, h.flags = f, 0
		s.open = append(s.open, h)
	}
	h.users++
	f := h.file
	s.evict()
	s.mu.Unlock()
	err := do(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.shut && h.users == 0 {
		s.closeFile(h)
	}
	return err
}

// evict closes those that have not been used for the longest time. The lock is
// held.
func (s *Logs) evict() {
	for len(s.open) > mostOpen {
		var oldest *handle
		for _, h := range s.open {
			if h.users == 0 && (oldest == nil || h.used < oldest.used) {
				oldest = h
			}
		}
		if oldest == nil {
			return
		}
		s.closeFile(oldest)
	}
}

func (s *Logs) closeFile(h *handle) {
	s.open = slices.DeleteFunc(s.open, func(x *handle) bool { return x == h })
	h.err = errors.Join(h.err, h.file.Close())
	h.file = nil
}

// sameFile returns an error if a file is not the one that was opened first.
func (h *handle) sameFile(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case h.made == nil:
		h.made = info
	case !os.SameFile(h.made, info):
		return fmt.Errorf("%s is not the file that was written: who has replaced it?", h.path)
	}
	return nil
}

// close closes the file of a log that is used no more, of which so many bytes were
// written. The error says, too, what others have done to it.
func (s *Logs) close(h *handle, written int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.shut && written > 0 {
		h.err = errors.Join(h.err, logfile.Check(h.path, h.made, written))
	}
	if h.shut = true; h.file != nil && h.users == 0 {
		s.closeFile(h)
	}
	return h.err
}

// Wait waits for the searches in logs that have been closed to end.
func (s *Logs) Wait() { s.following.Wait() }

// scratch lends a buffer; giveBack takes it.
func (s *Logs) scratch() *[]byte { return s.buffers.Get().(*[]byte) }

func (s *Logs) giveBack(b *[]byte) {
	if cap(*b) <= 4*blockSize {
		*b = (*b)[:0]
		s.buffers.Put(b)
	}
}
