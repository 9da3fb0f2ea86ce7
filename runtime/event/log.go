package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line that Read takes, so that a file that is no log cannot
// fill the memory: an argv may be 2 MiB, and JSON may write a byte as six.
const maxLine = 16 << 20

// Writer writes a log, a whole line in one call to the underlying writer.
type Writer struct {
	w   io.Writer
	buf []byte // what has not been written yet
}

// NewWriter makes a Writer. It buffers nothing but what it could not write.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write appends one event to the log. What cannot be written, as on a full
// disk, is written before the next event, so that nothing follows half a line:
// where there is no error, the whole log has been written.
func (w *Writer) Write(e Event) error {
	line, err := e.append(w.buf)
	if err != nil {
		return err
	}
	w.buf = append(line, '\n')
	n, err := w.w.Write(w.buf)
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	if err != nil {
		return fmt.Errorf("event log: cannot write: %w", err)
	}
	return nil
}

// opening is how every log begins, however short it was cut.
const opening = `{"seq":0,"t":`

// ErrNotALog is the error of Read for a file that does not begin with
// run_started.
var ErrNotALog = errors.New("not an event log: the first line must be run_started")

// Read reads a log back. A last line that was cut short, as one whose writer
// was killed leaves it, is left out without an error, also where it is the
// first: whether the run came to its end is told by Finished. A line that is not
// an event, a gap in seq, or a format that this version does not know is an
// error that names the line; the events before it are returned too.
//
// A line may have 16 MiB. Beyond 128 KiB, Read allocates less than 256 bytes for
// each byte that it reads, those of the events it returns among them.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	br := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(br)
		if errors.Is(err, io.EOF) {
			if rest := string(line[:min(len(line), len(opening))]); number == 1 && !strings.HasPrefix(opening, rest) {
				return nil, ErrNotALog
			}
			return events, nil
		}
		if err != nil {
			return events, fmt.Errorf("event log: line %d: %w", number, err)
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			if number == 1 {
				return nil, fmt.Errorf("%w (%.300v)", ErrNotALog, err) // it may quote the line
			}
			return events, fmt.Errorf("event log: line %d: %.300v", number, err)
		}
		if number == 1 {
			started, ok := e.Detail.(RunStarted)
			if !ok {
				return nil, ErrNotALog
			}
			if started.Format != Format {
				return nil, fmt.Errorf("event log: format %d, this version reads format %d", started.Format, Format)
			}
		}
		if e.Seq != int64(number-1) {
			return events, fmt.Errorf("event log: line %d: seq is %d, expected %d", number, e.Seq, number-1)
		}
		events = append(events, e)
	}
}

// Finished tells whether a log's run came to its end.
func Finished(events []Event) bool {
	return len(events) > 0 && events[len(events)-1].Kind() == KindRunFinished
}

// readLine returns a line without its newline, and with io.EOF what follows the
// last newline, or the beginning of that.
func readLine(br *bufio.Reader) ([]byte, error) {
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
		if long = append(long, part...); len(long) > maxLine {
			return nil, fmt.Errorf("longer than %d MiB", maxLine>>20)
		}
	}
}
