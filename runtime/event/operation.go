package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// append appends the fields of the operation and the end of its line, as encoding/json
// writes them.
func (d Invoke) append(dst []byte) (line []byte, err error) {
	w := fields{dst: dst}
	w.integer("op", d.Op)
	w.integer("process", d.Process)
	if d.Client != "" {
		w.text("client", d.Client)
	}
	w.text("f", d.F)
	w.json("key", d.Key)
	w.json("value", d.Value)
	return w.end(d.At)
}

// append is as that of Invoke.
func (d Completed) append(dst []byte) (line []byte, err error) {
	w := fields{dst: dst}
	w.integer("op", d.Op)
	w.text("outcome", d.Outcome)
	w.json("result", d.Result)
	if d.Error != "" {
		w.text("error", d.Error)
	}
	return w.end(d.At)
}

// fields are the fields of a detail that is being written.
type fields struct {
	dst  []byte
	some bool // there is one
	err  error
}

func (w *fields) name(name string) {
	if w.some {
		w.dst = append(w.dst, ',')
	}
	w.some = true
	w.dst = append(append(append(w.dst, '"'), name...), `":`...)
}

func (w *fields) integer(name string, n int) {
	w.name(name)
	w.dst = strconv.AppendInt(w.dst, int64(n), 10)
}

func (w *fields) text(name, s string) {
	w.name(name)
	dst, err := exact.AppendString(w.dst, s)
	if err != nil {
		w.err = err
		return
	}
	w.dst = dst
}

// json appends a value that is one, as the readers of a log stop at a line that is not.
func (w *fields) json(name string, v JSON) {
	if v == "" {
		return
	}
	w.name(name)
	if isPlainValue(v) {
		w.dst = append(w.dst, v...)
		return
	}
	var compact bytes.Buffer // a line has no other line in it
	if err := json.Compact(&compact, []byte(v)); err != nil {
		w.err = fmt.Errorf("event: %s is no JSON: %.40q", name, string(v))
		return
	}
	w.dst = append(w.dst, compact.Bytes()...)
}

func (w *fields) end(at float64) ([]byte, error) {
	switch {
	case math.IsNaN(at), math.IsInf(at, 0):
		return nil, fmt.Errorf("event: at is %v, seconds are expected", at)
	case at != 0:
		w.name("at")
		w.dst = strconv.AppendFloat(w.dst, at, 'f', -1, 64)
	}
	return append(w.dst, '}'), w.err
}

// isPlainValue reports whether a value is plainly JSON: a string without escapes, or a
// number of few digits.
func isPlainValue(v JSON) bool {
	n := len(v)
	if n >= 2 && v[0] == '"' && v[n-1] == '"' {
		return exact.IsPlain(string(v[1 : n-1]))
	}
	if n > 15 || v[0] == '0' && n > 1 {
		return false
	}
	for i := range n {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return n > 0
}
