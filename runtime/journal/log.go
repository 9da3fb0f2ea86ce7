package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// A log is kept in blocks of its events. The last ones are in memory, and so is
// everything that could not be written; the others are read back from the disk.
const (
	blockEvents    = 256      // events of a block, at most
	blockBytes     = 64 << 10 // a block that has so many bytes of lines gets no further event
	residentBlocks = 8        // that are in memory, at least
	loadedBytes    = 2 << 20  // of lines of those that were read back for Find; the last of them may be longer
	maxUnwritten   = 16 << 20 // bytes: a disk that does not take them is not to be waited for
)

// File is a log that is read back.
type File interface {
	io.ReaderAt
	io.Closer
}

// log is the events of a run. The journal's lock guards it.
type log struct {
	writer   *event.Writer
	open     func() (File, error)
	file     File // opened for Find, or nil
	blocks   []block
	resident int   // the first of the blocks that stay in memory
	loaded   []int // blocks before it that are in memory too, the one that was used last at the end
	bytes    int64 // of their lines
	next     int64 // seq of the next event
	size     int64 // bytes of all lines
	t        time.Duration
}

// block is some events that follow each other.
type block struct {
	first  int64         // seq of the first
	at     int64         // where its line begins
	events []event.Event // nil where they are on the disk alone
}

// add adds an event, which gets its seq here.
func (l *log) add(e event.Event) (event.Event, error) {
	l.t = max(l.t, e.T)
	e.Seq, e.T = l.next, l.t
	last := len(l.blocks) - 1
	if last < 0 || len(l.blocks[last].events) == blockEvents || l.size-l.blocks[last].at >= blockBytes {
		l.blocks = append(l.blocks, block{first: e.Seq, at: l.size})
		last++
		l.trim()
	}
	b := &l.blocks[last]
	b.events = append(b.events, e)
	l.next++
	n, err := l.writer.Append(e)
	l.size += int64(n)
	return e, err
}

// trim lets go of what is on the disk and not among the last.
func (l *log) trim() {
	written := l.size - int64(l.writer.Unwritten())
	for len(l.blocks)-l.resident > residentBlocks && l.blocks[l.resident+1].at <= written {
		l.blocks[l.resident].events = nil
		l.resident++
	}
}

// find finds the block that an event is in.
func (l *log) find(seq int64) int {
	return sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].first > seq }) - 1
}

// stored is a block's place on the disk.
type stored struct {
	first, count int64
	at, size     int64
}

func (l *log) stored(i int) stored {
	end, next := l.size, l.next
	if i+1 < len(l.blocks) {
		end, next = l.blocks[i+1].at, l.blocks[i+1].first
	}
	b := l.blocks[i]
	return stored{first: b.first, count: next - b.first, at: b.at, size: end - b.at}
}

// read reads a block back.
func (s stored) read(file File) ([]event.Event, error) {
	broken := func(err error) error {
		return fmt.Errorf("event log: cannot read it back from event %d on: %w", s.first, err)
	}
	text := make([]byte, s.size)
	if _, err := file.ReadAt(text, s.at); err != nil {
		return nil, broken(err)
	}
	events := make([]event.Event, 0, s.count)
	for line := range bytes.Lines(text) {
		e, err := event.Parse(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return nil, broken(err)
		}
		if e.Seq != s.first+int64(len(events)) {
			return nil, broken(fmt.Errorf("seq is %d", e.Seq))
		}
		events = append(events, e)
	}
	if int64(len(events)) != s.count {
		return nil, broken(fmt.Errorf("%d of %d events are there", len(events), s.count))
	}
	return events, nil
}

// load returns the events of a block, read back where they must be.
func (l *log) load(i int) ([]event.Event, error) {
	if events := l.blocks[i].events; events != nil {
		if last := len(l.loaded) - 1; i < l.resident && l.loaded[last] != i {
			at := slices.Index(l.loaded, i)
			l.loaded = append(slices.Delete(l.loaded, at, at+1), i)
		}
		return events, nil
	}
	if l.file == nil {
		file, err := l.open()
		if err != nil {
			return nil, fmt.Errorf("event log: cannot read it back: %w", err)
		}
		l.file = file
	}
	events, err := l.stored(i).read(l.file)
	if err != nil {
		return nil, err
	}
	l.loaded, l.bytes = append(l.loaded, i), l.bytes+l.stored(i).size
	for l.bytes > loadedBytes && len(l.loaded) > 1 {
		l.unload()
	}
	l.blocks[i].events = events
	return events, nil
}

// unload lets go of the block that was used the longest time ago.
func (l *log) unload() {
	oldest := l.loaded[0]
	l.blocks[oldest].events = nil
	l.loaded, l.bytes = l.loaded[1:], l.bytes-l.stored(oldest).size
}

// Next is the seq of the next event. The lock is held.
func (j *Journal) Next() int64 { return j.log.next }

// Find returns the first event from one seq on and before another that is wanted;
// false where there is none. The lock is held, also where it reads the disk.
func (j *Journal) Find(from, to int64, wanted func(event.Event) bool) (event.Event, bool, error) {
	l := &j.log
	from, to = max(from, 0), min(to, l.next)
	if from >= to {
		return event.Event{}, false, nil
	}
	for i := l.find(from); i < len(l.blocks) && l.blocks[i].first < to; i++ {
		events, err := l.load(i)
		if err != nil {
			return event.Event{}, false, err
		}
		first := l.blocks[i].first
		for _, e := range events[max(from-first, 0):min(int64(len(events)), to-first)] {
			if wanted(e) {
				return e, true, nil
			}
		}
	}
	return event.Event{}, false, nil
}

// Events goes through the events from one seq on and before another, as far as the log
// has come when it begins, in bounded memory. An error, where the log cannot be read back, is the last
// of the sequence. The lock is not held; after the end of the run it is read from
// where it was.
func (j *Journal) Events(from, to int64) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		j.mu.Lock()
		end := min(to, j.log.next)
		j.mu.Unlock()
		r := j.reader()
		defer r.close()
		for next := max(from, 0); next < end; {
			events, err := r.read(next)
			if err != nil {
				yield(event.Event{}, err)
				return
			}
			for _, e := range events[:min(int64(len(events)), end-next)] {
				if !yield(e, nil) {
					return
				}
				next++
			}
		}
	}
}

// reader reads a log on without its lock.
type reader struct {
	j    *Journal
	file File // nil until the disk is needed
}

func (j *Journal) reader() *reader { return &reader{j: j} }

// read returns some of the events from one on, which there is.
func (r *reader) read(seq int64) ([]event.Event, error) {
	r.j.mu.Lock()
	l := &r.j.log
	i := l.find(seq)
	b, s := l.blocks[i], l.stored(i)
	r.j.mu.Unlock()
	if b.events != nil {
		r.close() // it may have caught up
		return b.events[seq-b.first:], nil
	}
	if r.file == nil {
		file, err := l.open()
		if err != nil {
			return nil, fmt.Errorf("event log: cannot read it back: %w", err)
		}
		r.file = file
	}
	events, err := s.read(r.file)
	if err != nil {
		return nil, err
	}
	return events[seq-s.first:], nil
}

// after is the first event behind the block of one.
func (r *reader) after(seq int64) int64 {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	s := r.j.log.stored(r.j.log.find(seq))
	return s.first + s.count
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// errNowhere is why a log that is not in a file cannot be read back.
var errNowhere = errors.New("it is not in a file")
