package history

import (
	"fmt"
	"slices"
	"time"
)

// Recorder records a history while it happens. An operation takes 170 bytes, besides
// its values and its error; names are kept once. It is not safe for concurrent use.
type Recorder struct {
	chunks  []*[chunk]Op // all but the last are full
	n       int
	clients map[who]*client
	names   map[string]string
	next    int // the next process
}

// chunk is how many operations are allocated at a time.
const chunk = 256

// who is a client: the script's, where node is "", or a node's.
type who struct{ node, name string }

type client struct {
	process int // -1 where it has none yet
	open    int // the operation that has not completed, or -1
}

// NewRecorder makes a Recorder of a history in which nothing has happened.
func NewRecorder() *Recorder {
	return &Recorder{clients: map[who]*client{}, names: map[string]string{}}
}

// Len is how many operations have been invoked.
func (r *Recorder) Len() int { return r.n }

func (r *Recorder) at(index int) *Op { return &r.chunks[index/chunk][index%chunk] }

// Op is an operation by its index.
func (r *Recorder) Op(index int) Op { return *r.at(index) }

// Ops are those operations of which is holds, in their order, as they are now; those
// that have not completed are Open. A nil is holds of all.
func (r *Recorder) Ops(is func(*Op) bool) Ops {
	var all Ops
	if is == nil {
		all = make(Ops, 0, r.n)
	}
	for i := range r.n {
		if o := r.at(i); is == nil || is(o) {
			all = append(all, *o)
		}
	}
	return all
}

// name is a name that is kept once.
func (r *Recorder) name(s string) string {
	kept, ok := r.names[s]
	if !ok {
		r.names[s] = s
		return s
	}
	return kept
}

// Invoke records that a client began an operation, and returns the operation's index.
// A client is known by its name and its node's. It is an error, and nothing is
// recorded, if its last operation has not completed.
func (r *Recorder) Invoke(node, name, f string, key, value Value, at time.Duration) (index int, err error) {
	if _, err := r.may(node, name, f); err != nil {
		return 0, err
	}
	c := r.clients[who{node, name}]
	if c == nil {
		c = &client{process: -1, open: -1}
		r.clients[who{r.name(node), r.name(name)}] = c
	}
	if c.process < 0 {
		c.process = r.next
		r.next++
	}
	if r.n%chunk == 0 {
		r.chunks = append(r.chunks, new([chunk]Op))
	}
	c.open = r.n
	r.n++
	*r.at(c.open) = Op{Index: c.open, Process: c.process, Client: r.name(name), Node: r.name(node), F: r.name(f), Key: key, Value: value,
		Outcome: Info, Invoked: at, Completed: at, Open: true}
	return c.open, nil
}

// may returns the process as which a client invokes an operation next, or why it cannot.
func (r *Recorder) may(node, name, f string) (process int, err error) {
	c := r.clients[who{node, name}]
	switch {
	case c == nil, c.open < 0 && c.process < 0:
		return r.next, nil
	case c.open >= 0:
		return 0, fmt.Errorf("client %s has not completed its last operation, %s, and cannot invoke %s", quote(name),
			describe(r.at(c.open)), quote(f))
	}
	return c.process, nil
}

// Pending is the operation that a client has not completed; ok is false where there is
// none.
func (r *Recorder) Pending(node, name string) (index int, ok bool) {
	c := r.clients[who{node, name}]
	if c == nil || c.open < 0 {
		return 0, false
	}
	return c.open, true
}

// Complete records the outcome of an operation: of one that is OK its result, of
// another why. After Info its client goes on as a new process. It is an error if the
// operation has completed already, or there is none of that index.
func (r *Recorder) Complete(index int, outcome Outcome, result Value, why string, at time.Duration) error {
	if err := r.mayComplete(index, outcome); err != nil {
		return err
	}
	o := r.at(index)
	c := r.clients[who{o.Node, o.Client}]
	if outcome == OK {
		o.Result = result
	} else {
		o.Error = why
	}
	o.Open, o.Outcome, o.Completed = false, outcome, max(at, o.Invoked)
	c.open = -1
	if outcome == Info {
		c.process = -1
	}
	return nil
}

// mayComplete returns why an operation cannot come to an outcome, or nil.
func (r *Recorder) mayComplete(index int, outcome Outcome) error {
	if index < 0 || index >= r.n {
		return fmt.Errorf("there is no operation %d", index)
	}
	o := r.at(index)
	switch {
	case r.clients[who{o.Node, o.Client}].open != index:
		return fmt.Errorf("operation %d, %s by client %s, has completed already: it is %s", index, describe(o), quote(o.Client), o.Outcome)
	case outcome != OK && outcome != Fail && outcome != Info:
		return fmt.Errorf("the outcome is %s, want ok, fail or info", quote(string(outcome)))
	}
	return nil
}

// Close gives up on the operations that have not completed, and returns them: nobody
// knows of them for ever. They stay Open, and have completed at that time.
func (r *Recorder) Close(why string, at time.Duration) []Op {
	var all []Op
	for _, c := range r.clients {
		if c.open < 0 {
			continue
		}
		o := r.at(c.open)
		o.Error, o.Completed = why, max(at, o.Invoked)
		c.open, c.process = -1, -1
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b Op) int { return a.Index - b.Index })
	return all
}

// describe names an operation in an error.
func describe(o *Op) string {
	if o.Value.IsNone() {
		return quote(o.F)
	}
	return fmt.Sprintf("%s of %s", quote(o.F), quote(o.Value.Text()))
}
