//go:build unix && !linux

package process

import (
	"io"
	"os"
	"sync"
)

// poller has a goroutine for each pipe.
type poller struct{ reading sync.WaitGroup }

// pipe is one stream of a process.
type pipe struct{ output output }

func newPoller(int) (*poller, error) { return &poller{}, nil }

// pollReaders is how many goroutines read the pipes of a driver, where they are few.
const pollReaders = 0

func (p *poller) close() error {
	p.reading.Wait()
	return nil
}

// open opens a pipe, of which the poller reads one end; theirs is the other one. over
// is called once when all has been read.
func (p *poller) open(to io.Writer, over func()) (own *pipe, theirs *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	own = &pipe{output{from: r, to: to}}
	p.reading.Go(func() {
		defer over()
		own.output.read()
	})
	return own, w, nil
}

func (o *pipe) readNow() { o.output.readNow() }

func (o *pipe) end() { o.output.end() }
