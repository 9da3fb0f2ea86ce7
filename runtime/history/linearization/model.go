package linearization

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// kind is what a call does.
type kind uint8

const (
	read     kind = iota // a register's value, or all of a set
	write                // a register's value
	cas                  // the same, if it is the expected one
	put                  // enqueue or push
	take                 // dequeue or pop
	acquire              // a mutex
	release              // it
	add                  // an element to a set
	remove               // one from it
	contains             // is it there?
)

// models are the functions that each model knows.
var models = map[string]map[string]kind{
	"register":     {"read": read, "write": write},
	"cas-register": {"read": read, "write": write, "cas": cas},
	"queue":        {"enqueue": put, "dequeue": take},
	"stack":        {"push": put, "pop": take},
	"mutex":        {"acquire": acquire, "release": release},
	"set":          {"add": add, "read": read, "remove": remove, "contains": contains},
}

// Models returns the names of the models, in order.
func Models() []string {
	return []string{"cas-register", "mutex", "queue", "register", "set", "stack"}
}

// wordSize is how many bytes of a state a value takes.
const wordSize = 4

// call is an operation as a model sees it. Values are numbers of four bytes, packed
// into strings; states are strings of them.
type call struct {
	op       *history.Op
	kind     kind
	open     bool   // nobody knows whether it was done, or what it returned
	refused  bool   // a cas, acquire, release or contains that came back with false
	arg, ret string // for cas: the expected and the new value
	from, to int64
}

// values numbers values, and tells them again.
type values struct {
	numbers map[history.Value]uint32
	names   []history.Value
}

func (v *values) pack(value history.Value) string {
	c := value.Canonical()
	n, ok := v.numbers[c]
	if !ok {
		n = uint32(len(v.names))
		v.numbers[c] = n
		v.names = append(v.names, value)
	}
	return string(binary.BigEndian.AppendUint32(nil, n))
}

func (v *values) name(word string) history.Value {
	return v.names[binary.BigEndian.Uint32([]byte(word))]
}

func words(s string) []string {
	list := make([]string, 0, len(s)/wordSize)
	for ; len(s) >= wordSize; s = s[wordSize:] {
		list = append(list, s[:wordSize])
	}
	return list
}

// machine is a model with the values of one key.
type machine struct {
	model string
	start string // the state before all operations
	values
}

func newMachine(model string, initial history.Value) *machine {
	m := &machine{model: model, values: values{numbers: map[history.Value]uint32{}}}
	if strings.HasSuffix(model, "register") {
		m.start = m.pack(initial)
	}
	return m
}

// call makes a call of an operation that did not fail. The error says what is wrong
// with its values.
func (m *machine) call(op *history.Op) (call, error) {
	k, ok := models[m.model][op.F]
	if !ok {
		return call{}, fmt.Errorf("the model %s does not know it", m.model)
	}
	c := call{op: op, kind: k, from: int64(op.Invoked), to: int64(op.Completed)}
	if c.open = op.Open || op.Outcome != history.OK; c.open {
		c.to = forever
	}
	if op.Outcome == history.OK {
		c.refused = op.Result == "false"
	}
	switch k {
	case read, take:
		if c.open {
			break
		}
		got := op.Returned()
		switch {
		case m.model != "set" && (k == read || !got.IsNone()):
			c.ret = m.pack(got)
		case m.model == "set" && !got.IsNone():
			elements, ok := got.List()
			if !ok {
				return call{}, fmt.Errorf("a read of a set returns a list, not %s", got)
			}
			for _, e := range elements {
				c.ret, _ = insert(c.ret, m.pack(e))
			}
		}
	case cas:
		pair, ok := op.Value.List()
		if !ok || len(pair) != 2 {
			return call{}, fmt.Errorf("its value is a list of the expected and the new value, not %q", string(op.Value))
		}
		c.arg, c.ret = m.pack(pair[0]), m.pack(pair[1])
	case contains:
		if !c.open && op.Result != "true" && op.Result != "false" {
			return call{}, fmt.Errorf("its result is true or false, not %q", string(op.Result))
		}
		c.arg = m.pack(op.Value)
	case acquire, release:
	default:
		c.arg = m.pack(op.Value)
	}
	return c, nil
}

// step returns the state after a call; ok is false where the call cannot be done in
// that state with that result. An open call can be done in any.
func (m *machine) step(s string, c *call) (next string, ok bool) {
	switch c.kind {
	case read:
		return s, c.open || s == c.ret
	case write:
		return c.arg, true
	case cas:
		if c.open && s != c.arg {
			return s, true
		}
		if c.refused {
			return s, s != c.arg
		}
		return c.ret, s == c.arg
	case put:
		return s + c.arg, true
	case take:
		return m.take(s, c)
	case acquire:
		if c.refused || c.open && s != "" {
			return s, s != ""
		}
		return "held", s == ""
	case release:
		return "", c.open || c.refused == (s == "")
	case add:
		next, _ = insert(s, c.arg)
		return next, true
	case remove:
		if at, found := find(s, c.arg); found {
			return s[:at] + s[at+wordSize:], true
		}
		return s, true
	default: // contains
		_, found := find(s, c.arg)
		return s, c.open || found != c.refused
	}
}

func (m *machine) take(s string, c *call) (next string, ok bool) {
	fifo := m.model == "queue"
	switch {
	case s == "":
		return s, c.open || c.ret == ""
	case c.open && fifo, fifo && c.ret == s[:wordSize]:
		return s[wordSize:], true
	case fifo:
		return s, false
	}
	top := len(s) - wordSize
	return s[:top], c.open || c.ret == s[top:]
}

// find returns where in a sorted state a word is, or belongs.
func find(s, word string) (at int, found bool) {
	lo, hi := 0, len(s)/wordSize
	for lo < hi {
		mid := (lo + hi) / 2
		if s[mid*wordSize:(mid+1)*wordSize] < word {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at = lo * wordSize
	return at, at < len(s) && s[at:at+wordSize] == word
}

func insert(s, word string) (next string, added bool) {
	at, found := find(s, word)
	if found {
		return s, false
	}
	return s[:at] + word + s[at:], true
}

// settle leaves out the open calls that no other call can have noticed, as they can
// be put after everything else: those that ask, and those that bring a value which
// nobody saw.
func (m *machine) settle(calls []call) []call {
	for {
		seen := map[string]bool{}
		refused := false // a cas was, so that every other value may be what it noticed
		for i := range calls {
			switch c := &calls[i]; {
			case c.kind == cas:
				seen[c.arg] = true
				refused = refused || c.refused
			case c.kind == contains && !c.refused && !c.open:
				seen[c.arg] = true
			case !c.open && (c.kind == read || c.kind == take):
				for _, w := range words(c.ret) {
					seen[w] = true
				}
			}
		}
		before := len(calls)
		calls = slices.DeleteFunc(calls, func(c call) bool {
			if !c.open {
				return false
			}
			switch c.kind {
			case read, contains:
				return true
			case write, put, add:
				return !seen[c.arg] && !refused
			case cas:
				return !seen[c.ret] && !refused
			}
			return false
		})
		if len(calls) == before {
			return calls
		}
	}
}

// what tells a call: "read of 3".
func (m *machine) what(c *call) string { return what(c.op, c.open) }

func what(op *history.Op, open bool) string {
	name := op.F
	if op.Outcome == history.OK && op.Result == "false" && name != "read" {
		name += ", refused,"
	}
	returned := op.Returned()
	if open && op.Value.IsNone() {
		returned = history.None
	}
	switch pair, ok := op.Value.List(); {
	case op.F == "cas" && ok && len(pair) == 2:
		return fmt.Sprintf("%s of %s for %s", name, tell(pair[1]), tell(pair[0]))
	case op.F == "acquire" || op.F == "release":
		return name
	case open && op.Value.IsNone():
		return name + " of unknown result"
	case (op.F == "dequeue" || op.F == "pop") && returned.IsNone():
		return name + " of nothing"
	}
	return name + " of " + tell(returned)
}

// tell tells a value: a text without its quotes, and nothing as None.
func tell(v history.Value) string {
	switch {
	case v.IsNone():
		return "None"
	case v == `""`:
		return `""`
	}
	return history.Clipped(v.Text())
}

// mostElements is how many elements of a state are told.
const mostElements = 12

// describe tells a state.
func (m *machine) describe(s string) string {
	if m.model == "mutex" {
		if s == "" {
			return "free"
		}
		return s
	}
	if strings.HasSuffix(m.model, "register") {
		return tell(m.name(s))
	}
	list := words(s)
	told := make([]string, 0, mostElements+1)
	for i, w := range list {
		if i == mostElements {
			told = append(told, fmt.Sprintf("and %s more", count(len(list)-i)))
			break
		}
		told = append(told, tell(m.name(w)))
	}
	return "[" + strings.Join(told, ", ") + "]"
}
