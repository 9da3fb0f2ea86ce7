// Package exact is encoding/json for strings that may be no UTF-8, as arguments,
// names of files and what a process writes may be: they come back byte for byte.
//
// A byte that is no part of UTF-8 is written as the lone surrogate that Python's
// os.fsdecode makes of it too, \udc80 to \udcff: "caf\udce9" is "caf" and the byte
// e9. No text has one otherwise, so that it cannot be mistaken; a reader that does
// not know it reads a character that is none. Anything else is written as
// encoding/json does, without the escapes that only a page needs.
//
// Strings of types that have a MarshalJSON of their own are left to it. A value
// with an UnmarshalJSON of its own is not for Unmarshal, unless what it reads has
// no such bytes, as a time.Time.
package exact

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Marshal encodes a value.
func Marshal(v any) ([]byte, error) {
	out, err := marshal(v)
	if err != nil || !bytes.Contains(out, []byte(`\ufffd`)) {
		return out, err
	}
	// encoding/json has written this for a byte that is no UTF-8, at least where a
	// string was not "\ufffd" in a json.RawMessage.
	mark := unused(out)
	out, err = marshal(mapped(reflect.ValueOf(v), marshaler, func(s string) string { return marked(s, mark) }).Interface())
	return bytes.ReplaceAll(out, []byte(mark), []byte(`\udc`)), err
}

// MarshalIndent is Marshal with each element on a line of its own.
func MarshalIndent(v any, indent string) ([]byte, error) {
	out, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, out, "", indent)
	return b.Bytes(), err
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Unmarshal decodes what Marshal has written, and any other JSON as encoding/json
// does. v is a pointer.
func Unmarshal(data []byte, v any) error {
	lone := loneSurrogates(data)
	if len(lone) == 0 {
		return json.Unmarshal(data, v)
	}
	mark := unused(data)
	var b bytes.Buffer
	from := 0
	for _, at := range lone {
		b.Write(data[from:at])
		b.WriteString(mark)
		from = at + len(`\udc`)
	}
	b.Write(data[from:])
	if err := json.Unmarshal(b.Bytes(), v); err != nil {
		return json.Unmarshal(data, v) // its error is of the data as they are
	}
	to := reflect.ValueOf(v).Elem()
	to.Set(mapped(to, unmarshaler, func(s string) string { return unmarked(s, mark) }))
	return nil
}

// AppendString appends a string as Marshal writes it, without reflection where it
// stands in JSON as it is.
func AppendString(dst []byte, s string) ([]byte, error) {
	if IsPlain(s) {
		return append(append(append(dst, '"'), s...), '"'), nil
	}
	value, err := Marshal(s)
	return append(dst, value...), err
}

// IsPlain reports whether a string stands in JSON as it is: it is printable ASCII
// that needs no escape.
func IsPlain[S string | []byte](s S) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// loneSurrogates are the places of \udc80 to \udcff in JSON that do not follow the
// first half of a pair.
func loneSurrogates(data []byte) (all []int) {
	if !bytes.Contains(data, []byte(`\ud`)) && !bytes.Contains(data, []byte(`\uD`)) {
		return nil
	}
	pair := -1 // where the second half of one stands
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		n, err := strconv.ParseUint(string(data[min(i+2, len(data)):min(i+6, len(data))]), 16, 16)
		switch {
		case i+6 > len(data), data[i+1] != 'u', err != nil:
			i++ // what is escaped is no escape
			continue
		case n >= 0xd800 && n < 0xdc00:
			pair = i + 6
		case n >= 0xdc80 && n <= 0xdcff && i != pair:
			all = append(all, i)
		}
		i += 5
	}
	return all
}

// unused is a character that is not in JSON, whether written out or as an escape.
func unused(data []byte) string {
	lower := bytes.ToLower(data)
	for c := rune(0x10fffd); ; c-- { // of a plane for private use, which is larger than what is read
		mark := string(c)
		if !bytes.Contains(data, []byte(mark)) && !bytes.Contains(lower, []byte(strings.Trim(strconv.QuoteToASCII(mark), `"`))) &&
			!bytes.Contains(lower, surrogates(c)) {
			return mark
		}
	}
}

// surrogates is the escape of a character beyond U+FFFF.
func surrogates(c rune) []byte {
	c -= 0x10000
	return []byte(`\u` + strconv.FormatInt(0xd800+int64(c>>10), 16) + `\u` + strconv.FormatInt(0xdc00+int64(c&0x3ff), 16))
}

// marked is a string with the mark and two hexadecimal digits in the place of each
// byte that is no UTF-8.
func marked(s, mark string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == utf8.RuneError && n == 1 {
			b.WriteString(mark + strconv.FormatUint(uint64(s[0]), 16)) // from 80 on
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// unmarked undoes marked.
func unmarked(s, mark string) string {
	before, rest, found := strings.Cut(s, mark)
	if !found {
		return s
	}
	var b strings.Builder
	b.WriteString(before)
	for found {
		n, _ := strconv.ParseUint(rest[:2], 16, 8) // there are two: a mark stands where they followed
		b.WriteByte(byte(n))
		before, rest, found = strings.Cut(rest[2:], mark)
		b.WriteString(before)
	}
	return b.String()
}

var (
	marshaler   = reflect.TypeFor[json.Marshaler]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// mapped is a copy of a value with each of its strings replaced, but for those of
// types that implement own.
func mapped(v reflect.Value, own reflect.Type, f func(string) string) reflect.Value {
	if !v.IsValid() || v.Type().Implements(own) || reflect.PointerTo(v.Type()).Implements(own) {
		return v
	}
	to := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		to.SetString(f(v.String()))
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		to.Set(reflect.New(v.Type().Elem()))
		to.Elem().Set(mapped(v.Elem(), own, f))
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		to.Set(mapped(v.Elem(), own, f))
	case reflect.Struct:
		to.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				to.Field(i).Set(mapped(v.Field(i), own, f))
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 { // bytes are no strings
				return v
			}
			to.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		}
		for i := range v.Len() {
			to.Index(i).Set(mapped(v.Index(i), own, f))
		}
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		to.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for each := v.MapRange(); each.Next(); {
			to.SetMapIndex(mapped(each.Key(), own, f), mapped(each.Value(), own, f))
		}
	default:
		return v
	}
	return to
}
