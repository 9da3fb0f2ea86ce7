package node

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// KillTimeout is how long a killed process may take to be gone before it is given up.
// Only one stuck in the kernel takes longer.
const KillTimeout = 10 * time.Second

// Incarnation is a node with the process that it had at one moment, which may have
// ended since, and been followed by another.
type Incarnation struct {
	Node    *Node
	Process process.Process
	gone    chan struct{}
	prober  *prober // of its readiness; nil where the message alone tells it
}

// Present is the node's present incarnation; false where it has none whose exit has not
// been logged. The lock is held.
func (n *Node) Present() (Incarnation, bool) {
	return Incarnation{n, n.process, n.gone, n.prober}, n.process != nil
}

// Gone is closed when the exit of the incarnation has been logged.
func (i Incarnation) Gone() <-chan struct{} { return i.gone }

// isPresent reports whether its exit has not been logged. The lock is held.
func (i Incarnation) isPresent() bool { return i.Node.process == i.Process }

// Signal sends a signal by which the process is asked to end, and logs the request.
// Of one that had ended it logs nothing, and is os.ErrProcessDone. Its exit is logged
// after the request. It reports how many processes it reached.
func (i Incarnation) Signal(a event.Asked, s os.Signal, to process.Reach) (reached int, err error) {
	return i.ask(a, func() (int, error) { return i.Process.Signal(s, to) })
}

// blow is a signal of a crash that an incarnation was sent.
type blow struct {
	signal string
	touch  func(event.Touched)
}

// Blow is Signal for a signal of a crash, which a process may survive: what it touched
// shows when the process ends. touch is called then, with the lock held, if that is how
// it ended.
func (i Incarnation) Blow(a event.Asked, s os.Signal, to process.Reach, touch func(event.Touched)) error {
	_, err := i.ask(a, func() (int, error) {
		i.Node.m.Journal.Lock()
		if i.isPresent() {
			i.Node.blows = append(i.Node.blows, blow{a.Signal, touch})
		}
		i.Node.m.Journal.Unlock()
		return i.Process.Signal(s, to)
	})
	return err
}

// ask does something by which the process is asked to end, and logs the request.
func (i Incarnation) ask(a event.Asked, do func() (int, error)) (reached int, err error) {
	i.Node.asking.RLock()
	defer i.Node.asking.RUnlock()
	if reached, err = do(); err != nil {
		return reached, err
	}
	i.Node.m.Journal.Lock()
	defer i.Node.m.Journal.Unlock()
	if i.isPresent() {
		i.Node.m.Journal.Append(i.Node.Name, a)
	}
	return reached, nil
}

// stop sends the process its stop signal, once, and returns what is left of the grace that
// it has to end: time in which it was paused does not count.
func (i Incarnation) stop(by string) (left time.Duration, err error) {
	n, m := i.Node, i.Node.m
	i.stopProbing()
	m.Journal.Lock()
	now, left := m.Clock.Now(), m.Grace
	if !i.isPresent() || !i.Process.Alive() {
		m.Journal.Unlock()
		return 0, os.ErrProcessDone
	}
	since := n.stopped
	if since == nil {
		n.stopped = &now
	}
	if since != nil && !process.Stopped(i.Process.PID()) { // one that is stopped has not heard of it
		left = max(0, m.Grace-(now-*since-n.PausedWithin(*since, now)))
	}
	m.Journal.Unlock()
	if since != nil {
		return left, nil
	}
	name := n.Spec.Stop
	if _, err = i.Signal(event.Asked{By: by, How: roster.Stop, Signal: name}, process.ParseSignal(name), process.Tree); err != nil {
		m.Journal.Lock()
		if n.stopped == &now {
			n.stopped = nil
		}
		m.Journal.Unlock()
	}
	return left, err
}

// Stop ends the process by signals: its stop signal, unless it was sent that before, and
// after the grace, counted from that signal, KILL, or that at once when
// hurry is done. It returns when its exit has been logged, or when leave is done; what
// it has begun goes on then. It is nil too where the process lives on for KillTimeout
// after all that. A process that had ended is os.ErrProcessDone. by says who asks, for
// the log.
func (i Incarnation) Stop(leave, hurry context.Context, by string) error {
	m := i.Node.m
	ended := make(chan error, 1)
	m.Tasks.Go(func() {
		err := i.terminate(hurry, by)
		if err == nil || errors.Is(err, os.ErrProcessDone) {
			<-i.gone
		}
		ended <- err
	})
	late, stop := m.Clock.After(clock.Later(m.Grace, KillTimeout))
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-leave.Done():
		return context.Cause(leave)
	case <-late:
		return nil // that it lives shows in what is left behind
	}
}

// terminate asks the process to end by its stop signal, and kills it after the grace, or at
// once in a hurry. Each is a request, as long as it lives. One that is stopped is
// let go on, for it could not hear.
func (i Incarnation) terminate(hurry context.Context, by string) error {
	kill, asked := event.Asked{By: by, How: roster.Kill, Signal: "KILL"}, false
	if hurry.Err() == nil {
		left, err := i.stop(by)
		if errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if asked = err == nil; asked {
			_, _ = i.Process.Signal(process.ContinueSignal, process.Tree) // the signal may have ended it
		}
		// What the signal has not reached, such as a tree that forks without end, KILL may.
		late, stop := i.Node.m.Clock.After(left)
		defer stop()
		select {
		case <-i.Process.Done():
			return nil
		case <-late:
		case <-hurry.Done():
		}
	}
	if hurry.Err() != nil { // it was given no time
		kill.How = roster.Signal
	}
	_, err := i.Signal(kill, os.Kill, process.Tree)
	if asked && errors.Is(err, os.ErrProcessDone) { // of the stop signal
		return nil
	}
	return err
}
