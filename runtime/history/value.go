package history

import (
	"encoding/json"
	"strings"
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
	if json.Unmarshal([]byte(v), &text) != nil {
		return string(v)
	}
	return text
}

// List returns the elements of a list; ok is false where the value is none.
func (v Value) List() (elements []Value, ok bool) {
	var raw []json.RawMessage
	if !v.IsList() || json.Unmarshal([]byte(v), &raw) != nil {
		return nil, false
	}
	elements = make([]Value, len(raw))
	for i, r := range raw {
		elements[i] = Value(r)
	}
	return elements, true
}

// Text makes a Value of a text.
func Text(s string) Value {
	if plain(s) {
		return Value(`"` + s + `"`)
	}
	data, _ := json.Marshal(strings.ToValidUTF8(s, "\ufffd")) // a string always marshals
	return Value(data)
}

// plain reports whether a text needs no escape in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
