package main

import (
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"
)

// outlets are what the program prints to: its standard output and error. Whoever is
// to read them may have stopped to, as a pager does. Then the program waits, until it
// is told to end.
type outlets struct {
	ending  chan struct{} // closed when it is
	endOnce sync.Once
}

func newOutlets() *outlets { return &outlets{ending: make(chan struct{})} }

// end has the writes to an outlet wait for its reader for no longer than a second in all.
func (o *outlets) end() { o.endOnce.Do(func() { close(o.ending) }) }

// outlet is one of them.
type outlet struct {
	all *outlets
	w   io.Writer

	mu      sync.Mutex
	stalled bool          // a write does not end
	waited  time.Duration // in writes since the program is to end
	lost    error         // why something was not written; nil where its reader had gone, or nobody read
}

var errStalled = errors.New("nobody reads what is printed")

// lastWrite is how long writes may take, in all, when the program is to end.
const lastWrite = time.Second

// Write writes p, and returns errStalled where nobody reads and the program is to end.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.write(p)
	if o.lost == nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, errStalled) {
		o.lost = err
	}
	return n, err
}

// Lost is the first error of a write that was not its reader's doing, as on a full disk;
// nil where there was none.
func (o *outlet) Lost() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// write is Write. The lock is held.
func (o *outlet) write(p []byte) (int, error) {
	if o.stalled {
		return 0, errStalled
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	p = slices.Clone(p) // the write may be left behind
	go func() {
		n, err := o.w.Write(p)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-o.all.ending:
	}
	began := time.Now()
	defer func() { o.waited += time.Since(began) }()
	timer := time.NewTimer(lastWrite - o.waited)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-timer.C:
		o.stalled = true
		return 0, errStalled
	}
}
