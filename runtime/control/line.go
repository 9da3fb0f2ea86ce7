package control

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// peekBytes is more than a socket holds: who has read so much since it was asked has
// read what had arrived then.
const peekBytes = 16 << 20

// line is the connection as it is read: of it one can wait until what has arrived has
// been looked at, and a deadline passes only once that is so, and not by time in which
// the node stood still.
type line struct {
	net.Conn
	clock  *clock.Clock
	paused func(from, to time.Duration) time.Duration // how much of a time the node was paused
	// stopped reports whether the node's process is stopped now, which it may be without
	// being paused. Nobody tells when that began: while a bound is waited for, it is asked
	// every so often.
	stopped func() bool

	mu      sync.Mutex
	reading bound
	writing bound
	moved   bool // the connection's own deadline may be another
	peeks   []peek
	read    int64 // bytes
}

// bound is a deadline on the run's clock.
type bound struct {
	is      bool
	due     time.Duration
	set     time.Duration // when it was, or was last looked at
	wake    time.Time     // the machine's time at which it is to be looked at
	stopped bool          // the node was when it was last looked at
}

// bound makes a bound of a deadline on the machine's clock; of the zero time, none.
func (l *line) bound(t time.Time) bound {
	if t.IsZero() {
		return bound{}
	}
	now := l.clock.Now()
	wait := time.Until(t)
	return bound{is: true, due: now + wait, set: now, wake: t.Add(min(0, mostWait-wait))}
}

// leastWait is how often is looked at a bound that moves on with the time, and mostWait how
// often at any, so that it is known what of the time the node was stopped.
const (
	leastWait = 5 * time.Millisecond
	mostWait  = 200 * time.Millisecond
)

// later returns what a bound becomes where its time has not passed on the run's clock, or
// but for what the node stood still; ok is false where it has passed.
func (l *line) later(b bound) (_ bound, ok bool) {
	now, stopped := l.clock.Now(), l.stopped()
	stood := l.paused(b.set, now)
	if stopped || b.stopped { // at one end of that time at least
		stood = now - b.set
	}
	if now >= b.due && stood <= 0 {
		return b, false
	}
	b.due, b.set, b.stopped = b.due+stood, now, stopped
	b.wake = time.Now().Add(min(max(b.due-now, leastWait), mostWait))
	return b, true
}

// peek is somebody who waits until what has arrived has been looked at.
type peek struct {
	done chan struct{}
	upTo int64 // of line.read, at the latest
}

// SyscallConn is the connection's own.
func (l *line) SyscallConn() (syscall.RawConn, error) {
	raw, ok := l.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return raw.SyscallConn()
}

// SetReadDeadline bounds reading; the zero time is no bound.
func (l *line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading = l.bound(t)
	l.moved = len(l.peeks) > 0
	if l.moved { // it is set when nobody peeks any more
		return nil
	}
	return l.Conn.SetReadDeadline(l.reading.wake)
}

// SetWriteDeadline bounds writing; the zero time is no bound.
func (l *line) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = l.bound(t)
	return l.Conn.SetWriteDeadline(l.writing.wake)
}

// Write writes as net.Conn does. It is called by one at a time.
func (l *line) Write(p []byte) (n int, err error) {
	for {
		some, err := l.Conn.Write(p[n:])
		if n += some; err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		l.mu.Lock()
		writing := l.writing
		l.mu.Unlock()
		later, ok := l.later(writing)
		if !ok {
			return n, err
		}
		l.mu.Lock()
		l.writing = later
		l.Conn.SetWriteDeadline(later.wake)
		l.mu.Unlock()
	}
}

// look asks Read to look at what has arrived. The channel is closed when all of that
// has been read, and its reader has come back for more.
func (l *line) look() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := peek{done: make(chan struct{}), upTo: l.read + peekBytes}
	l.peeks = append(l.peeks, p)
	l.moved = true
	l.Conn.SetReadDeadline(time.Unix(1, 0)) // it ends a Read that waits
	return p.done
}

// Read reads what has arrived, as net.Conn does. What was read before has been handled
// when it is called.
func (l *line) Read(p []byte) (int, error) {
	for last := false; ; {
		l.mu.Lock()
		for len(l.peeks) > 0 && l.read >= l.peeks[0].upTo {
			close(l.peeks[0].done)
			l.peeks = l.peeks[1:]
		}
		peeks := len(l.peeks)
		looks := peeks > 0 || last
		switch {
		case looks: // a deadline that has passed would keep what is there from being read
			l.moved = true
			l.Conn.SetReadDeadline(time.Time{})
		case l.moved:
			l.moved = false
			l.Conn.SetReadDeadline(l.reading.wake)
		}
		l.mu.Unlock()
		has := true
		if looks {
			var err error
			if has, err = l.hasArrived(); err != nil {
				return 0, err
			}
		}
		if has {
			n, err := l.Conn.Read(p)
			if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				l.mu.Lock()
				l.read += int64(n)
				l.mu.Unlock()
				return n, err
			}
			peeks = 0 // who has asked meanwhile is to be answered
			if looks {
				continue
			}
		}
		if l.nothing(peeks) {
			if last {
				return 0, os.ErrDeadlineExceeded
			}
			last = true // of what had arrived when the deadline passed nothing was read
		}
	}
}

// hasArrived reports whether a Read would not wait, or what it would return.
func (l *line) hasArrived() (is bool, broken error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return true, nil // the Read tells
	}
	if err := raw.Control(func(fd uintptr) { is, broken = unread(fd) }); err != nil {
		return true, nil
	}
	return is, broken
}

// nothing is told that a read has found nothing, before which there were so many who
// peek, and reports whether the deadline has passed.
func (l *line) nothing(peeks int) (late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.peeks[:peeks] {
		close(p.done)
	}
	l.peeks = l.peeks[peeks:]
	before := l.reading
	if !before.is || time.Now().Before(before.wake) {
		return false
	}
	l.mu.Unlock()
	later, ok := l.later(before)
	l.mu.Lock()
	if l.reading != before {
		return false
	}
	if ok {
		l.reading, l.moved = later, true
	}
	return !ok
}
