package runtime

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Condition is something to wait for: see Reached, MessageFrom, OutputFrom,
// Elapsed and Change.
type Condition = journal.Condition

// Watch is a wait under way.
type Watch = journal.Watch

// Reached waits until every named node has come as far as the state. A node
// that has exited has reached StateExited; one that exited as it was allowed
// to has reached StateDoneShutdown too. It becomes impossible when a node
// exits before the state, or closes its control connection and lives on.
func (r *Run) Reached(names []string, s State) Condition {
	names = slices.Clone(names)
	left := map[string]bool{} // those that have not come, true where they cannot
	impossible := 0           // how many cannot
	settle := func(name string) error {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		if left[name] {
			impossible--
		}
		switch {
		case n.Has(s):
			delete(left, name)
		case n.State == "":
			return &StateError{Node: name, Text: fmt.Sprintf("cannot await %s: it has not been forked", s)}
		default:
			left[name] = n.State == StateExited || n.Lost && s != StateExited
		}
		if left[name] {
			impossible++
		}
		return nil
	}
	those := func(impossible bool) (out []string) {
		for _, name := range names {
			if cannot, is := left[name]; is && cannot == impossible {
				out = append(out, name)
			}
		}
		return out
	}
	return Condition{What: string(s), Nodes: names, Missing: func() []string { return those(false) }, Check: func(news string) journal.Answer {
		look := names
		if news != "" {
			look = []string{news}
		}
		for _, name := range look {
			if err := settle(name); err != nil {
				return journal.Answer{Err: err}
			}
		}
		if impossible > 0 {
			return journal.Answer{Impossible: those(true)}
		}
		return journal.Answer{Met: len(left) == 0}
	}}
}

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met. A wait that was met and is stopped before anybody has taken its
// result by Watch.Err leaves the message to the next one.
func (r *Run) MessageFrom(name, address string, sinceNow bool) (Condition, func() Message) {
	var found Message
	var of *roster.Messages // that it is one of
	from := int64(-1)       // what is before it is not awaited
	return Condition{What: "message " + address, Nodes: []string{name}, GiveBack: func() { of.GiveBack(address, found.Seq) },
		Check: func(string) journal.Answer {
			n, err := r.node(name)
			if err != nil {
				return journal.Answer{Err: err}
			}
			if from < 0 {
				if from = 0; sinceNow {
					from = r.j.Next()
				}
			}
			_, ok, err := n.Messages.Give(address, from, r.j.Next(), func(a, b int64) (int64, bool, error) {
				e, ok, err := r.j.Find(a, b, func(e event.Event) bool { return isMessage(e, name, address) })
				if ok {
					found, err = messageOf(e)
				}
				return e.Seq, ok, err
			})
			if err != nil {
				return journal.Answer{Err: err}
			}
			if ok {
				of = n.Messages
				return journal.Answer{Met: true}
			}
			return n.awaited()
		}}, func() Message { return found }
}

// isMessage reports whether an event is a message of a node to an address, or to any
// where that is "".
func isMessage(e event.Event, node, address string) bool {
	d, ok := e.Detail.(event.Received)
	return ok && e.Node == node && (address == "" || d.Address == address)
}

// messageOf is the message that an event tells of. The error is that a log on the
// disk is another.
func messageOf(e event.Event) (Message, error) {
	d := e.Detail.(event.Received)
	m := Message{T: e.T, Address: d.Address, Args: d.Args, Seq: e.Seq}
	if len(d.Packet) > 0 {
		packet, err := osc.Parse(d.Packet)
		if err != nil {
			return Message{}, fmt.Errorf("event log: the packet of event %d: %w", e.Seq, err)
		}
		m.Args = packet.Message().Arguments
	}
	return m, nil
}

// Counted waits until a node's present incarnation has reported at least n
// messages by /count. It is impossible once the node is done with fewer. The
// function returns how many it has, once the condition is met.
func (r *Run) Counted(name string, n int64) (Condition, func() int64) {
	var reported int64
	return Condition{What: fmt.Sprintf("count of %d", n), Nodes: []string{name}, Check: func(string) journal.Answer {
		counter, err := r.node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		switch reported = counter.Count; {
		case counter.State != "" && reported >= n:
			return journal.Answer{Met: true}
		case counter.State != "" && counter.WasDone: // it counts no further
			return journal.Answer{Impossible: []string{counter.Name}}
		}
		return counter.awaited()
	}}, func() int64 { return reported }
}

// OutputFrom waits for a line of the node's output, of either stream, that the
// pattern matches: the first of its present incarnation that no such wait has
// returned yet, or with sinceNow the first that is still to come. The function
// returns it, once the condition is met. A line of over 64 KiB is matched in
// pieces.
func (r *Run) OutputFrom(name string, pattern *regexp.Regexp, sinceNow bool) (Condition, func() process.Line) {
	var found process.Line
	began := false
	var from int64
	return Condition{What: "output " + pattern.String(), Nodes: []string{name}, ReadsOutput: true, Check: func(string) journal.Answer {
		n, err := r.node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		if !began {
			began = true
			if from = n.log.Start(); sinceNow {
				from = n.log.Size()
			}
			from = max(from, n.outputRead[pattern.String()])
		}
		exited := n.State == StateExited
		for {
			lines, next, err := n.log.Lines(from)
			if err != nil {
				return journal.Answer{Err: fmt.Errorf("%s: cannot read its output back: %w", name, err)}
			}
			for i, line := range lines {
				if pattern.MatchString(line.Text) {
					end := next
					if i+1 < len(lines) {
						end = lines[i+1].Offset
					}
					n.outputRead[pattern.String()] = end
					found = line
					return journal.Answer{Met: true}
				}
			}
			if next == from {
				break
			}
			from = next
		}
		if n.State == "" {
			return n.awaited()
		}
		if exited {
			return journal.Answer{Impossible: []string{n.Name}}
		}
		return journal.Answer{}
	}}, func() process.Line { return found }
}

// awaited is the answer for a node that has not sent what is awaited.
func (n *node) awaited() journal.Answer {
	switch {
	case n.State == "":
		return journal.Answer{Err: &StateError{Node: n.Name, Text: "cannot await anything of it: it has not been forked"}}
	case n.State == StateExited, n.Lost:
		return journal.Answer{Impossible: []string{n.Name}}
	}
	return journal.Answer{}
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) Condition {
	return Condition{What: "sleep", Timeout: max(d, 1), Quiet: true, Expiry: true,
		Check: func(string) journal.Answer { return journal.Answer{} }}
}

// Change waits for the next event, at most for a while; that no event came is
// no error.
func (r *Run) Change(within time.Duration) Condition {
	seen := int64(-1)
	return Condition{What: "change", Timeout: max(within, 1), Quiet: true, Expiry: true, Always: true, Check: func(string) journal.Answer {
		if seen < 0 {
			seen = r.j.Next()
		}
		return journal.Answer{Met: r.j.Next() > seen}
	}}
}

// Watch begins to wait for a condition: see journal.Journal.Watch. It ends with
// the cause once the run's work is aborted.
func (r *Run) Watch(c Condition, notify func()) *Watch { return r.j.Watch(c, notify) }

// Wait waits for a condition and returns how the wait ended.
func (r *Run) Wait(c Condition) error {
	ended := make(chan struct{})
	w := r.Watch(c, func() { close(ended) })
	<-ended
	return w.Err()
}

// tailLines is how many of a node's last lines an error quotes.
const tailLines = 10

// tail returns the last lines that a node has written.
func (r *Run) tail(name string) []string { return r.nodes[name].log.Tail(tailLines) }

// Output returns what the node's present incarnation has written so far, one
// line a line, both streams as they came.
func (r *Run) Output(name string) (string, error) {
	r.j.Lock()
	n, err := r.node(name)
	r.j.Unlock()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for from := n.log.Start(); ; {
		lines, next, err := n.log.Lines(from)
		if err != nil {
			return "", fmt.Errorf("%s: cannot read its output back: %w", name, err)
		}
		if next == from {
			return b.String(), nil
		}
		for _, line := range lines {
			b.WriteString(line.Text + "\n")
		}
		from = next
	}
}
