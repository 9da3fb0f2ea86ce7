// Package lines writes files of lines so that nothing follows half a line.
package lines

import "io"

// Writer has the lines that have not been written yet.
type Writer struct {
	To  io.Writer
	Buf []byte // whole lines, for the next Flush
}

// maxKept is how large a buffer is kept that holds nothing, in bytes.
const maxKept = 1 << 20

// Flush writes the lines in one call of To.Write. What cannot be written, as on a full
// disk, is written by the next Flush, before what comes then: where there is no error,
// all has been written.
func (w *Writer) Flush() error {
	if len(w.Buf) == 0 {
		return nil
	}
	n, err := w.To.Write(w.Buf)
	w.Buf = w.Buf[:copy(w.Buf, w.Buf[n:])]
	if cap(w.Buf) > maxKept && len(w.Buf) == 0 {
		w.Buf = nil
	}
	return err
}
