package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Value is a value of an operation, as JSON: null, true, a number, a string, a list
// or an object, without spaces and with an object's keys in order. Values that are
// the same have the same text. The zero Value is None.
type Value string

// None is no value.
const None Value = ""

// IsNone reports whether the value is none, or null.
func (v Value) IsNone() bool { return v == None || v == "null" }

// IsList reports whether the value is a list.
func (v Value) IsList() bool { return strings.HasPrefix(string(v), "[") }

// Text returns a string's text, and of all else the JSON. It is what is compared
// where values are elements: what a system was given as the number 5 it may give
// back as the text "5".
func (v Value) Text() string {
	if len(v) < 2 || v[0] != '"' {
		return string(v)
	}
	if inner := string(v[1 : len(v)-1]); strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var text string
	if exact.Unmarshal([]byte(v), &text) != nil {
		return string(v)
	}
	return text
}

// Canonical returns what is the same for values that are the same to a system, as the
// number 5 and the text "5" are. No value, which is null, is not the same as any text.
func (v Value) Canonical() Value {
	if v.IsNone() {
		return "null"
	}
	if v[0] != '"' {
		return v
	}
	text := v.Text()
	if text == "null" || text == "" || text[0] == '"' {
		return v
	}
	return Value(text)
}

// List returns the elements of a list; ok is false where the value is none.
func (v Value) List() (elements []Value, ok bool) {
	if !v.IsList() {
		return nil, false
	}
	return v.parts(']')
}

// parts returns what stands between the commas of a list or an object, which ends in
// a bracket.
func (v Value) parts(bracket byte) (parts []Value, ok bool) {
	if len(v) == 2 && v[1] == bracket {
		return []Value{}, true
	}
	if !strings.ContainsAny(string(v[1:]), "[{") { // of lists in lists each would count all commas
		parts = make([]Value, 0, strings.Count(string(v), ",")+1)
	}
	for rest := string(v[1:]); ; {
		end := valueEnd(rest)
		if end <= 0 || end == len(rest) {
			return nil, false
		}
		parts = append(parts, Value(rest[:end]))
		switch last := len(rest) == end+1; {
		case rest[end] == ',' && !last:
			rest = rest[end+1:]
		case rest[end] == bracket && last:
			return parts, true
		default:
			return nil, false
		}
	}
}

// valueEnd is where the value ends with which a text begins: at a comma or a
// bracket that is not of it, else at the text's end. It is 0 where there is none.
func valueEnd(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// entries returns the keys and values of an object, in the order of the keys; ok is
// false where the value is none.
func (v Value) entries() (keys []string, values []Value, ok bool) {
	if !strings.HasPrefix(string(v), "{") {
		return nil, nil, false
	}
	pairs, ok := v.parts('}')
	for _, pair := range pairs {
		end := 1
		for ; end < len(pair) && pair[end] != '"'; end++ {
			if pair[end] == '\\' {
				end++
			}
		}
		if end+2 >= len(pair) || pair[0] != '"' || pair[end+1] != ':' {
			return nil, nil, false
		}
		keys = append(keys, pair[:end+1].Text())
		values = append(values, pair[end+2:])
	}
	return keys, values, ok
}

// Text makes a Value of a text. A byte that is no UTF-8 is kept, as package exact
// has it.
func Text(s string) Value {
	data, _ := exact.AppendString(nil, s) // a string always marshals
	return Value(data)
}

// maxDepth is how deep lists and objects may be in each other.
const maxDepth = 100

// ParseValue makes a Value of JSON, which may have spaces, and keys in any order.
// Of several values for one key the last holds.
func ParseValue(data []byte) (Value, error) {
	if v := Value(data); isScalar(v) {
		return v, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return None, err
	}
	if compact.String() == "null" {
		return None, nil
	}
	out, err := appendCanonical(nil, Value(compact.Bytes()), maxDepth)
	return Value(out), err
}

// appendCanonical appends JSON that has no spaces, with the keys in order.
func appendCanonical(dst []byte, v Value, depth int) ([]byte, error) {
	if depth == 0 {
		return dst, fmt.Errorf("lists and objects are more than %d deep in each other", maxDepth)
	}
	var err error
	switch v[0] {
	case '"':
		return exact.AppendString(dst, v.Text())
	case '[':
		elements, _ := v.List()
		for i, e := range elements {
			if dst, err = appendCanonical(append(dst, "[,"[min(i, 1)]), e, depth-1); err != nil {
				return dst, err
			}
		}
		if len(elements) == 0 {
			dst = append(dst, '[')
		}
		return append(dst, ']'), nil
	case '{':
		keys, values, _ := v.entries()
		order := make([]int, len(keys))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
		dst = append(dst, '{')
		for n, i := range order {
			if n+1 < len(order) && keys[order[n+1]] == keys[i] {
				continue
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst, _ = exact.AppendString(dst, keys[i]) // a string always marshals
			if dst, err = appendCanonical(append(dst, ':'), values[i], depth-1); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return append(dst, v...), nil
}

// isScalar reports whether a text is for sure a plain string or a whole number as a
// Value has it.
func isScalar(v Value) bool {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return exact.IsPlain(string(v[1 : len(v)-1]))
	}
	for i := range len(v) {
		if c := v[i]; c < '0' || c > '9' || i == 0 && c == '0' && len(v) > 1 {
			return false
		}
	}
	return len(v) > 0
}
