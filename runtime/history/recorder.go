package history

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Recorder makes a history of the events of a run: a fold over them, which gives clients
// their processes. Its zero value is an empty history. An operation takes some 250 bytes
// and its texts. A Recorder is not safe for concurrent use.
type Recorder struct {
	ops       []Op
	clients   map[client]*state
	processes int // so far
}

// client is who does operations: one of a script's, or of a node's.
type client struct{ node, name string }

// state is what a client does.
type state struct {
	op   int  // its last operation
	open bool // which has not completed
}

// Begin returns the event of a client's next operation, for the log; Apply records it. A
// client does one at a time: it is an error if one of its has not completed.
func (r *Recorder) Begin(name, node, f string, key, value Value) (event.Invoke, error) {
	d := event.Invoke{Op: len(r.ops), Process: r.processes, Client: name, F: f, Key: event.JSON(key), Value: event.JSON(value)}
	s := r.clients[client{node, name}]
	switch {
	case s == nil:
	case s.open:
		return d, fmt.Errorf("client %s begins %q, and its operation %d, %q, has not completed: a client does one at a time", name, f, s.op, r.ops[s.op].F)
	case r.ops[s.op].Outcome != Info:
		d.Process = r.ops[s.op].Process
	}
	return d, nil
}

// Complete returns the event of what became of an operation, for the log; Apply records
// it. A result is that of an operation that is OK. It is an error if the operation does
// not exist, or has completed.
func (r *Recorder) Complete(index int, outcome Outcome, result Value, why string) (event.Completed, error) {
	if !r.isOpen(index) {
		return event.Completed{}, fmt.Errorf("operation %d is not open: it has completed, or was never begun", index)
	}
	if outcome != OK {
		result = None
	}
	return event.Completed{Op: index, Outcome: string(outcome), Result: event.JSON(result), Error: why}, nil
}

func (r *Recorder) isOpen(index int) bool {
	return index >= 0 && index < len(r.ops) && r.ops[index].Open
}

// Apply records what an event tells. One that does not fit is no part of the history.
func (r *Recorder) Apply(e event.Event) {
	switch d := e.Detail.(type) {
	case event.Invoke:
		if d.Op != len(r.ops) {
			return
		}
		r.processes = max(r.processes, d.Process+1)
		c := client{e.Node, d.Client}
		if r.clients == nil {
			r.clients = map[client]*state{}
		}
		if r.clients[c] == nil {
			r.clients[c] = &state{}
		}
		*r.clients[c] = state{op: d.Op, open: true}
		r.ops = append(r.ops, Op{Index: d.Op, Process: d.Process, Client: d.Client, Node: e.Node, F: d.F, Key: Value(d.Key),
			Value: Value(d.Value), Outcome: Info, Invoked: when(e.T, d.At), Open: true})
	case event.Completed:
		if !r.isOpen(d.Op) {
			return
		}
		o := &r.ops[d.Op]
		o.Outcome, o.Result, o.Error, o.Open = Outcome(d.Outcome), Value(d.Result), d.Error, false
		o.Completed = max(when(e.T, d.At), o.Invoked)
		if s := r.clients[client{o.Node, o.Client}]; s != nil && s.op == d.Op {
			s.open = false
		}
	}
}

// when is the time of an operation's event: what its node has told, or the event's own.
func when(t time.Duration, at float64) time.Duration {
	if at == 0 {
		return t
	}
	return time.Duration(math.Round(at*1e9)) * time.Nanosecond
}

// Len returns how many operations there are.
func (r *Recorder) Len() int { return len(r.ops) }

// Op returns an operation that there is, as it stands.
func (r *Recorder) Op(index int) Op { return r.ops[index] }

// Ops returns a copy of the history as it stands.
func (r *Recorder) Ops() []Op { return slices.Clone(r.ops) }
