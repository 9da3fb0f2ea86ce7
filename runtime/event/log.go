package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/internal/lines"
)

// maxStrange bounds a line that Read takes if it does not begin as an event, or is the
// first, so that a file that is no log cannot fill the memory. An event is as long as
// what it tells: a script may print more than this.
const maxStrange = 16 << 20

// Writer writes a log: what was appended since the last time, in one call to the
// underlying writer.
type Writer struct{ lines.Writer }

// NewWriter makes a Writer.
func NewWriter(w io.Writer) *Writer { return &Writer{lines.Writer{To: w}} }

// Append appends one event, for the next Flush to write, and returns the bytes of
// its line. An event that cannot be encoded is an error, and no line.
func (w *Writer) Append(e Event) (int, error) {
	line, err := e.append(w.Buf)
	if err != nil {
		return 0, err
	}
	n := len(line) + 1 - len(w.Buf)
	w.Buf = append(line, '\n')
	return n, nil
}

// Flush writes what was appended. What cannot be written, as on a full disk, is
// written by the next Flush, before what comes then, so that nothing follows half a
// line: where there is no error, the whole log has been written.
func (w *Writer) Flush() error {
	if err := w.Writer.Flush(); err != nil {
		return fmt.Errorf("event log: cannot write: %w", err)
	}
	return nil
}

// Unwritten is how many bytes the next Flush has to write.
func (w *Writer) Unwritten() int { return len(w.Buf) }

// Write appends one event and flushes.
func (w *Writer) Write(e Event) error {
	if _, err := w.Append(e); err != nil {
		return err
	}
	return w.Flush()
}

// opening is how every log begins, however short it was cut.
const opening = `{"seq":0,"t":`

// ErrNotALog is the error of Read for a file that does not begin with
// run_started.
var ErrNotALog = errors.New("not an event log: the first line must be run_started")

// Read reads a log back, all of it: see All. The events before an error are
// returned too.
func Read(r io.Reader) ([]Event, error) { return Collect(All(r)) }

// Collect gathers events in memory, up to the first error.
func Collect(all iter.Seq2[Event, error]) ([]Event, error) {
	var events []Event
	for e, err := range all {
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
	return events, nil
}

// All goes through a log. A last line that was cut short, as one whose writer
// was killed leaves it, is left out without an error, also where it is the
// first: whether the run came to its end, its last event tells. A line that is not
// an event, a gap in seq, or a format that this version does not know is an
// error that names the line, and the last of the sequence.
//
// The line of an event may have any length; one that does not begin as an event may
// have 16 MiB, and so may the first. Beyond 128 KiB, All allocates less than 256 bytes
// for each byte that it reads, those of the events it yields among them; it keeps one
// line.
func All(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		for number := 1; ; number++ {
			line, err := readLine(br, number)
			if errors.Is(err, io.EOF) {
				if rest := string(line[:min(len(line), len(opening))]); number == 1 && !strings.HasPrefix(opening, rest) {
					yield(Event{}, ErrNotALog)
				}
				return
			}
			if err != nil {
				yield(Event{}, fmt.Errorf("event log: line %d: %w", number, err))
				return
			}
			e, err := parse(line, number)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// parse reads a line of a log by its number, from 1.
func parse(line []byte, number int) (Event, error) {
	e, err := Parse(line)
	if err != nil && number == 1 {
		return Event{}, fmt.Errorf("%w (%.300v)", ErrNotALog, err) // it may quote the line
	} else if err != nil {
		return Event{}, fmt.Errorf("event log: line %d: %.300v", number, err)
	}
	if number == 1 {
		started, ok := e.Detail.(RunStarted)
		if !ok {
			return Event{}, ErrNotALog
		}
		if started.Format != Format {
			return Event{}, fmt.Errorf("event log: format %d, this version reads format %d", started.Format, Format)
		}
	}
	if e.Seq != int64(number-1) {
		return Event{}, fmt.Errorf("event log: line %d: seq is %d, expected %d", number, e.Seq, number-1)
	}
	return e, nil
}

// Parse reads one line of a log, without its newline. The event shares no memory
// with it.
func Parse(line []byte) (Event, error) {
	if e, ok := parseReceived(line); ok {
		return e, nil
	}
	var e Event
	err := json.Unmarshal(line, &e)
	return e, err
}

// Finished reports whether a log's run came to its end.
func Finished(events []Event) bool {
	return len(events) > 0 && events[len(events)-1].Kind() == KindRunFinished
}

// readLine returns a line, by its number, without its newline, and with io.EOF what
// follows the last newline.
func readLine(br *bufio.Reader, number int) ([]byte, error) {
	var long []byte
	for {
		part, err := br.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return bytes.TrimSuffix(part, []byte("\n")), nil
		case err == nil:
			return bytes.TrimSuffix(append(long, part...), []byte("\n")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return append(long, part...), err
		}
		if long = append(long, part...); len(long) > maxStrange && (number == 1 || !bytes.HasPrefix(long, beginning(number))) {
			return nil, fmt.Errorf("longer than %d MiB", maxStrange>>20)
		}
	}
}

// beginning is how the event of a line begins, by its number.
func beginning(number int) []byte { return fmt.Appendf(nil, `{"seq":%d,"t":`, number-1) }
