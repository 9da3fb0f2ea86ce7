package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

// writerFunc is a function as a Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func startPoller(t *testing.T) *poller {
	t.Helper()
	p, err := newPoller(pollReaders)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestPoller: of many pipes all is read, in its order, to the end of each.
func TestPoller(t *testing.T) {
	p := startPoller(t)
	const count, lines = 100, 3000
	var all sync.WaitGroup
	read := make([]bytes.Buffer, count)
	for i := range count {
		all.Add(1)
		_, theirs, err := p.open(&read[i], all.Done)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer theirs.Close()
			for line := range lines {
				fmt.Fprintf(theirs, "%d of %d\n", line, i)
			}
		})
	}
	all.Wait()
	for i := range count {
		var want strings.Builder
		for line := range lines {
			fmt.Fprintf(&want, "%d of %d\n", line, i)
		}
		if read[i].String() != want.String() {
			t.Errorf("of pipe %d %d bytes were read, want %d", i, read[i].Len(), want.Len())
		}
	}
	if len(p.files) > 0 {
		t.Errorf("%d pipes are left", len(p.files))
	}
}

// TestPollerSlow: a reader that is held up holds up no other, and one that fails is
// not called again.
func TestPollerSlow(t *testing.T) {
	p := startPoller(t)
	release := make(chan struct{})
	var all sync.WaitGroup
	var slow []*os.File
	for range pollReaders - 1 {
		all.Add(1)
		_, theirs, err := p.open(writerFunc(func(b []byte) (int, error) {
			<-release
			return len(b), nil
		}), all.Done)
		if err != nil {
			t.Fatal(err)
		}
		theirs.WriteString("x")
		slow = append(slow, theirs)
	}
	over, calls := make(chan struct{}), 0
	_, theirs, err := p.open(writerFunc(func([]byte) (int, error) {
		calls++
		return 0, io.ErrShortWrite
	}), func() { close(over) })
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // more than a pipe holds
		if _, err := theirs.Write(make([]byte, 8<<10)); err != nil {
			t.Fatal(err)
		}
	}
	theirs.Close()
	<-over
	if calls != 1 {
		t.Errorf("a writer that failed was called %d times", calls)
	}
	close(release)
	for _, f := range slow {
		f.Close()
	}
	all.Wait()
}

// TestPollerEnd: where others have a pipe still, what is in it is read, and no more.
func TestPollerEnd(t *testing.T) {
	p := startPoller(t)
	for range 200 {
		var read bytes.Buffer
		over := make(chan struct{})
		own, theirs, err := p.open(&read, func() { close(over) })
		if err != nil {
			t.Fatal(err)
		}
		theirs.WriteString("last words")
		own.end()
		<-over
		own.end()
		if read.String() != "last words" {
			t.Fatalf("%q was read", read.String())
		}
		if _, err := theirs.WriteString("more"); err == nil {
			t.Fatal("a pipe that has been closed can be written to")
		}
		theirs.Close()
	}
}
