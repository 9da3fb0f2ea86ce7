package report

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
)

// blockSize is about how many bytes of the log are one block of the page. Each is
// compressed by itself: on all processors here, and piece by piece in the browser.
const blockSize = 1 << 20

// newCompressor is the fastest of its kind: a log is so repetitive that a slower one gains
// little.
func newCompressor() *gzip.Writer {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	return w
}

// writeEvents writes the log, as blocks of whole lines. It holds a few of them in memory.
func (r *Run) writeEvents(b *bufio.Writer) error {
	f, _, err := r.open(logName)
	if err != nil {
		return err
	}
	defer f.Close()
	type block struct {
		packed []byte
		err    error
	}
	workers := runtime.GOMAXPROCS(0)
	queue := make(chan chan block, workers)
	readErr := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer close(queue)
		readErr <- eachBlock(f, func(text []byte) bool {
			packed := make(chan block, 1)
			select {
			case queue <- packed:
			case <-stop:
				return false
			}
			go func() {
				data, err := compressed(text)
				packed <- block{data, err}
			}()
			return true
		})
	}()
	stopped := false
	for packed := range queue {
		p := <-packed
		if err == nil {
			err = p.err
		}
		if err == nil {
			b.WriteString("<script type=\"application/gzip\" data-block=\"events\">")
			err = writeBase64(b, p.packed)
		}
		if err != nil && !stopped {
			close(stop)
			stopped = true
		}
	}
	if readErr := <-readErr; err == nil {
		err = readErr
	}
	return err
}

func compressed(text []byte) ([]byte, error) {
	var data bytes.Buffer
	w := newCompressor()
	w.Reset(&data)
	_, err := w.Write(text)
	if err == nil {
		err = w.Close()
	}
	return data.Bytes(), err
}

// eachBlock goes through blocks of whole lines. What follows the last line's end is no event, and is left out.
func eachBlock(r io.Reader, do func(text []byte) bool) error {
	var rest []byte
	for {
		text := make([]byte, max(blockSize, 2*len(rest)))
		n := copy(text, rest)
		got, err := io.ReadFull(r, text[n:])
		text = text[:n+got]
		end := bytes.LastIndexByte(text, '\n') + 1
		if end > 0 && !do(text[:end:end]) {
			return nil
		}
		rest = text[end:]
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}
