package transaction

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// verb is what a micro-operation does.
type verb uint8

const (
	readKey   verb = iota // "r": of a list or a register
	appendKey             // "append": of an element to a list
	writeKey              // "w": of a register's value
)

// micro is a micro-operation of a transaction.
type micro struct {
	verb verb
	key  string
	// value is an element or a value, and what a register's read returned. None is a
	// register that nobody wrote.
	value string
	list  []string // what a list's read returned
	// known is false for a read that returned nothing, of a transaction that did not
	// say what it read.
	known  bool
	isList bool
}

// none is the text of no value. No other value has it.
const none = "\x00"

func text(v history.Value) string {
	if v.IsNone() {
		return none
	}
	return v.Text()
}

// parse returns the micro-operations of a transaction: a list of lists of a verb, a
// key and a value.
func parse(v history.Value) ([]micro, error) {
	list, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("a transaction is a list of micro-operations, not %s", shorten(string(v)))
	}
	micros := make([]micro, len(list))
	for i, m := range list {
		parts, ok := elements(m)
		if !ok || len(parts) != 3 {
			return nil, fmt.Errorf(`a micro-operation is like ["r", "x", null], not %s`, shorten(string(m)))
		}
		micros[i].key = text(parts[1])
		switch parts[0] {
		case `"r"`:
			micros[i].known = true
			if micros[i].list, micros[i].isList = texts(parts[2]); !micros[i].isList {
				micros[i].value = text(parts[2])
			}
		case `"append"`, `"w"`:
			micros[i].verb = appendKey
			if parts[0] == `"w"` {
				micros[i].verb = writeKey
			}
			if micros[i].value = text(parts[2]); micros[i].value == none {
				return nil, fmt.Errorf("a transaction cannot write null, as %s does: that is what nobody wrote", shorten(string(m)))
			}
		default:
			return nil, fmt.Errorf(`a micro-operation is "r", "append" or "w", not %s`, shorten(string(parts[0])))
		}
	}
	return micros, nil
}

// answers returns why the micro-operations of a result are not those that the transaction
// was invoked with, or nil: each has to be the same, but for what a read returned.
func answers(micros []micro, op *history.Op) error {
	if op.Outcome != history.OK || !op.Value.IsList() || !op.Result.IsList() || op.Value == op.Result {
		return nil
	}
	asked, err := parse(op.Value)
	if err != nil {
		return err
	}
	wrong := func(why string, args ...any) error {
		return fmt.Errorf("its result %s does not answer the transaction %s: %s; the result is the transaction with what was read",
			shorten(string(op.Result)), shorten(string(op.Value)), fmt.Sprintf(why, args...))
	}
	if len(asked) != len(micros) {
		return wrong("it has %d micro-operations, want %d", len(micros), len(asked))
	}
	for i := range asked {
		a, m := &asked[i], &micros[i]
		if a.verb != m.verb || a.key != m.key || a.verb != readKey && a.value != m.value {
			return wrong("micro-operation %d is %s, want %s", i+1, m, a)
		}
	}
	return nil
}

// String tells a micro-operation: "r of x", "append of 5 to x".
func (m *micro) String() string {
	if m.verb == readKey {
		return "r of " + value(m.key)
	}
	return [...]string{appendKey: "append", writeKey: "w"}[m.verb] + " of " + value(m.value) + " to " + value(m.key)
}

func shorten(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}

func texts(v history.Value) ([]string, bool) {
	list, ok := elements(v)
	if !ok {
		return nil, false
	}
	all := make([]string, len(list))
	for i, e := range list {
		all[i] = text(e)
	}
	return all, true
}

// elements is history.Value's List, for the texts that values are, an order of
// magnitude faster: half a million lists would take seconds. A text that is not
// plainly a list is left to that.
func elements(v history.Value) ([]history.Value, bool) {
	if len(v) < 2 || v[0] != '[' || v[len(v)-1] != ']' {
		return v.List()
	}
	if v == "[]" {
		return nil, true
	}
	n := 1
	for i := range len(v) {
		if v[i] == ',' {
			n++
		}
	}
	list := make([]history.Value, 0, n)
	depth, start := 0, 1
	for i := 1; i < len(v)-1; i++ {
		switch c := v[i]; {
		case c == '"':
			for i++; i < len(v)-1 && v[i] != '"'; i++ {
				if v[i] == '\\' || v[i] < ' ' {
					return v.List()
				}
			}
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			list = append(list, v[start:i])
			start = i + 1
		}
		if depth < 0 {
			return v.List()
		}
	}
	list = append(list, v[start:len(v)-1])
	for _, e := range list {
		if !plain(e) {
			return v.List()
		}
	}
	return list, true
}

// special reports whether a letter is one that a text in JSON may not have as it is.
func special(r rune) bool { return r < ' ' || r == '"' || r == '\\' }

// plain reports whether a value is one that need not be looked at by encoding/json:
// a whole number or a text without escapes, or else what that says is one.
func plain(v history.Value) bool {
	digits := len(v) > 0
	for i := range len(v) {
		digits = digits && v[i] >= '0' && v[i] <= '9'
	}
	if digits {
		return v[0] != '0' || len(v) == 1
	}
	if len(v) > 1 && v[0] == '"' && strings.IndexFunc(string(v[1:len(v)-1]), special) < 0 && v[len(v)-1] == '"' {
		return true
	}
	return len(v) > 0 && v[0] > ' ' && v[len(v)-1] > ' ' && json.Valid([]byte(v))
}
