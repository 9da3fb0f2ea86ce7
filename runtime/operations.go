package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// operations is the history of a run, and what nodes have begun of it. The journal's lock
// guards it.
type operations struct {
	*history.Recorder
	open    map[nodeOp]int  // the index of each operation that a node has begun
	missing map[string]bool // the nodes of which one is not recorded
}

// nodeOp is an operation as a node numbers it.
type nodeOp struct {
	node   string
	number int64
}

// Invoke records that a client of the script begins an operation on the system under
// test, and returns its index. A client does one at a time; f, key and value say what is
// done, as package history has it. Complete must be called with the index.
func (r *Run) Invoke(client, f string, key, value history.Value) (index int, err error) {
	r.j.Lock()
	defer r.j.Unlock()
	return r.invoke("", client, f, key, value, 0)
}

// Complete records what became of an operation, and returns all of it. A result is that
// of one that is OK, and why is the error of one that is not.
func (r *Run) Complete(index int, outcome history.Outcome, result history.Value, why string) (history.Op, error) {
	r.j.Lock()
	defer r.j.Unlock()
	if err := r.complete(index, outcome, result, why, 0); err != nil {
		return history.Op{}, err
	}
	return r.operations.Op(index), nil
}

// invoke is Invoke, for a node's client too; at is when it was, 0 for now. The lock is held.
func (r *Run) invoke(node, client, f string, key, value history.Value, at float64) (int, error) {
	if r.j.Closed() {
		return 0, ErrEnded
	}
	d, err := r.operations.Begin(node, client, f, key, value)
	if err == nil {
		d.At = at
		r.j.Append(node, d)
	}
	return d.Op, err
}

// complete is Complete; at is when it was, 0 for now. The lock is held.
func (r *Run) complete(index int, outcome history.Outcome, result history.Value, why string, at float64) error {
	if r.j.Closed() {
		return ErrEnded
	}
	d, err := r.operations.End(index, outcome, result, why)
	if err == nil {
		d.At = at
		r.j.Append(r.operations.Op(index).Node, d)
	}
	return err
}

// operate records what a node says of an operation by a message to one of the addresses
// that are for that; known is false for any other. The error is that of a message that
// is to be refused. The lock is held.
func (r *Run) operate(node string, m event.Received) (known bool, err error) {
	var outcome history.Outcome
	switch m.Address {
	case control.AddressInvoke:
	case control.AddressOK:
		outcome = history.OK
	case control.AddressFail:
		outcome = history.Fail
	case control.AddressInfo:
		outcome = history.Info
	default:
		return false, nil
	}
	if outcome == "" {
		defer func() { r.findMissing(node, err) }()
	}
	args := arguments{message: m}
	number := nodeOp{node, args.integer(0, "operation")}
	if outcome == "" {
		process, f := args.text(1, "process"), args.text(2, "f")
		key, value := args.value(3), args.value(4)
		at := r.toldAt(args.optional(5, "at"))
		if args.err != nil {
			return true, args.err
		}
		if _, known := r.operations.open[number]; known {
			return true, fmt.Errorf("%s: operation %d has not completed", m.Address, number.number)
		}
		index, err := r.invoke(node, process, f, key, value, at)
		if err != nil {
			return true, fmt.Errorf("%s: %w", m.Address, err)
		}
		if r.operations.open == nil {
			r.operations.open = map[nodeOp]int{}
		}
		r.operations.open[number] = index
		return true, nil
	}
	var result history.Value
	why := ""
	if outcome == history.OK {
		result = args.value(1)
	} else if len(m.Args) > 1 && m.Args[1] != nil {
		why = args.text(1, "error")
	}
	at := r.toldAt(args.optional(2, "at"))
	if args.err != nil {
		return true, args.err
	}
	index, open := r.operations.open[number]
	if !open {
		return true, fmt.Errorf("%s: operation %d is not open: it has completed, or was never invoked", m.Address, number.number)
	}
	delete(r.operations.open, number)
	return true, r.complete(index, outcome, result, why, at)
}

// findMissing adds a finding, once for each node, where an operation that it has begun is
// not recorded: what a checker says of the others shows nothing of that one. The lock is
// held.
func (r *Run) findMissing(node string, err error) {
	if err == nil || errors.Is(err, ErrEnded) || r.operations.missing[node] {
		return
	}
	if r.operations.missing == nil {
		r.operations.missing = map[string]bool{}
	}
	r.operations.missing[node] = true
	r.find(Finding{Outcome: verdict.Inconclusive, During: r.phase(),
		Reason: fmt.Sprintf("the history lacks an operation of %s, if not more, as its message was refused: %v", node, err)})
}

// abandonOperations records that nobody knows what became of the operations that a node's
// incarnation has begun, which has ended. The lock is held.
func (r *Run) abandonOperations(node string) {
	var all []int
	for number, index := range r.operations.open {
		if number.node == node {
			delete(r.operations.open, number)
			all = append(all, index)
		}
	}
	slices.Sort(all)
	for _, index := range all {
		_ = r.complete(index, history.Info, history.None, node+" ended before it had completed", 0) // it is open
	}
}

// toldAt is the time of the run, in seconds, that a node tells on the machine's monotonic
// clock, in nanoseconds: not after now. It is 0 where the node tells none, or this machine
// has no such clock that processes share. What two nodes tell has the order in which it was
// on the machine's clock, however late either is heard.
func (r *Run) toldAt(machine int64) float64 {
	if machine == 0 {
		return 0
	}
	at, ok := r.clock.At(machine)
	if !ok {
		return 0
	}
	return max(at, time.Microsecond).Truncate(time.Microsecond).Seconds()
}

// arguments are those of a message, the first mistake of which is kept.
type arguments struct {
	message event.Received
	err     error
}

func (a *arguments) wrong(i int, name, want string) {
	if a.err != nil {
		return
	}
	if i >= len(a.message.Args) {
		a.err = fmt.Errorf("%s: there is no argument %d: %s, %s, was expected", a.message.Address, i+1, name, want)
		return
	}
	a.err = fmt.Errorf("%s: argument %d is a %T: %s, %s, was expected", a.message.Address, i+1, a.message.Args[i], name, want)
}

// optional is a whole number that may be left out, as 0.
func (a *arguments) optional(i int, name string) int64 {
	if i >= len(a.message.Args) || a.message.Args[i] == nil {
		return 0
	}
	return a.integer(i, name)
}

func (a *arguments) integer(i int, name string) int64 {
	if i < len(a.message.Args) {
		switch v := a.message.Args[i].(type) {
		case int32:
			return int64(v)
		case int64:
			return v
		}
	}
	a.wrong(i, name, "a whole number")
	return 0
}

// text is a string, or a whole number as one.
func (a *arguments) text(i int, name string) string {
	if i < len(a.message.Args) {
		switch v := a.message.Args[i].(type) {
		case string:
			return v
		case int32:
			return strconv.FormatInt(int64(v), 10)
		case int64:
			return strconv.FormatInt(v, 10)
		}
	}
	a.wrong(i, name, "a string")
	return ""
}

// value is an argument that an operation has as its key, value or result; none where it
// is left out.
func (a *arguments) value(i int) history.Value {
	if i >= len(a.message.Args) || a.message.Args[i] == nil {
		return history.None
	}
	v, ok := valueOf(a.message.Args[i])
	if !ok {
		a.wrong(i, "a value", "a string, number, boolean, nil or a list of these")
	}
	return v
}

// valueOf makes a value of an OSC argument; ok is false where JSON has none.
func valueOf(arg any) (v history.Value, ok bool) {
	switch arg := arg.(type) {
	case nil:
		return "null", true
	case bool:
		return history.Value(strconv.FormatBool(arg)), true
	case int32:
		return history.Value(strconv.FormatInt(int64(arg), 10)), true
	case int64:
		return history.Value(strconv.FormatInt(arg, 10)), true
	case float32:
		return valueOf(float64(arg))
	case float64:
		if math.IsNaN(arg) || math.IsInf(arg, 0) {
			return history.None, false
		}
		data, err := json.Marshal(arg)
		return history.Value(data), err == nil
	case string:
		return history.Text(arg), true
	case osc.Array:
		list := []byte("[")
		for i, element := range arg {
			v, ok := valueOf(element)
			if !ok {
				return history.None, false
			}
			if i > 0 {
				list = append(list, ',')
			}
			list = append(list, v...)
		}
		return history.Value(append(list, ']')), true
	}
	return history.None, false
}

// History returns what clients have done so far, in the order in which it began: those
// operations of which is holds, all for a nil is. The lock is held while is looks at them.
func (r *Run) History(is func(*history.Op) bool) history.Ops {
	r.j.Lock()
	defer r.j.Unlock()
	return r.operations.Ops(is)
}

// writeHistory writes the operations into the run's folder, where there are any, as
// history.Write does.
func (r *Run) writeHistory() error {
	ops := r.History(nil)
	if len(ops) == 0 {
		return nil
	}
	path := filepath.Join(r.folder.Path, "history.jsonl")
	f, err := os.Create(path)
	if err != nil {
		return &LogError{Err: err}
	}
	if err := errors.Join(history.Write(f, ops, r.Elapsed()), f.Close()); err != nil {
		return &LogError{Err: fmt.Errorf("%s: %w", path, err)}
	}
	return nil
}

// FaultsAt returns the titles of the faults that were in force at a time of the run.
func (r *Run) FaultsAt(at time.Duration) (titles []string) {
	r.j.Lock()
	defer r.j.Unlock()
	for _, f := range r.ledger.Records() {
		if f.InForce(at) {
			titles = append(titles, f.Title())
		}
	}
	return titles
}
