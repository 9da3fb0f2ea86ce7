package await

import (
	"fmt"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met. A wait that was met and is stopped before anybody has taken its
// result by Watch.Err leaves the message to the next one.
func MessageFrom(v View, name, address string, sinceNow bool) (journal.Condition, func() roster.Message) {
	var found roster.Message
	var of *roster.Messages // that it is one of
	from := int64(-1)       // what is before it is not awaited
	c := journal.Condition{What: "message " + address, Nodes: []string{name}}
	c.GiveBack = func() {
		if of != nil {
			of.GiveBack(address, found.Seq)
			of = nil
		}
	}
	c.Check = func(string) journal.Answer {
		n, err := v.Node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		if from < 0 {
			if from = 0; sinceNow {
				from = v.Next()
			}
		}
		_, ok, err := n.Messages.Give(address, from, v.Next(), func(a, b int64) (int64, bool, error) {
			e, ok, err := v.Find(a, b, func(e event.Event) bool { return isMessage(e, name, address) })
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
		return awaited(n)
	}
	return c, func() roster.Message { return found }
}

// Messages returns what the node's present incarnation has sent so far, all of
// it or only one address. What has left the memory is read back from the log. The
// lock is not held.
func Messages(j *journal.Journal, name, address string) ([]roster.Message, error) {
	j.Lock()
	n, err := j.Node(name)
	if err != nil {
		j.Unlock()
		return nil, err
	}
	sent, end := n.Messages, j.Next()
	j.Unlock()
	var out []roster.Message
	for at := int64(0); ; {
		j.Lock()
		from, to, ok := sent.Span(address, at)
		j.Unlock()
		if !ok || from >= end {
			return out, nil
		}
		for e, err := range j.Events(from, min(to, end)) {
			if err != nil {
				return nil, err
			}
			if !isMessage(e, name, address) {
				continue
			}
			m, err := messageOf(e)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
		at = to
	}
}

// isMessage reports whether an event is a message of a node to an address, or to any
// where that is "".
func isMessage(e event.Event, node, address string) bool {
	d, ok := e.Detail.(event.Received)
	return ok && e.Node == node && (address == "" || d.Address == address)
}

// messageOf is the message that an event tells of. The error is that a log on the
// disk is another.
func messageOf(e event.Event) (roster.Message, error) {
	d := e.Detail.(event.Received)
	m := roster.Message{T: e.T, Address: d.Address, Args: d.Args, Seq: e.Seq}
	if len(d.Packet) > 0 {
		packet, err := osc.Parse(d.Packet)
		if err != nil {
			return roster.Message{}, fmt.Errorf("event log: the packet of event %d: %w", e.Seq, err)
		}
		m.Args = packet.Message().Arguments
	}
	return m, nil
}
