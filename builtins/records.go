package builtins

import (
	"fmt"
	"slices"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/record"
)

// recordList is the records of files as a script has them. A value of one is
// made where the script looks at it.
type recordList []record.Record

var (
	_ starlark.Sequence   = recordList(nil)
	_ starlark.Sliceable  = recordList(nil)
	_ starlark.HasBinary  = recordList(nil)
	_ starlark.Comparable = recordList(nil)
	_ starlark.Container  = recordList(nil)
)

func (l recordList) String() string             { return shown(l) }
func (l recordList) Type() string               { return "records" }
func (l recordList) Freeze()                    {}
func (l recordList) Truth() starlark.Bool       { return len(l) > 0 }
func (l recordList) Hash() (uint32, error)      { return 0, fmt.Errorf("unhashable: records") }
func (l recordList) Len() int                   { return len(l) }
func (l recordList) Index(i int) starlark.Value { return recordValue{&l[i]} }

// Slice is as of a list.
func (l recordList) Slice(start, end, step int) starlark.Value {
	return recordList(sliced(l, start, end, step))
}

// sliced is a slice of a list, as starlark.Sliceable has it.
func sliced[E any](l []E, start, end, step int) (out []E) {
	if step == 1 {
		return l[start:end:end]
	}
	for i := start; step > 0 && i < end || step < 0 && i > end; i += step {
		out = append(out, l[i])
	}
	return out
}

// Iterate gives the records in their order.
func (l recordList) Iterate() starlark.Iterator {
	return &iterator[record.Record]{l, func(r *record.Record) starlark.Value { return recordValue{r} }}
}

// iterator gives a script the elements of a list, each as a value of its own.
type iterator[E any] struct {
	left  []E
	value func(*E) starlark.Value
}

// Next gives the next one.
func (it *iterator[E]) Next(p *starlark.Value) bool {
	if len(it.left) == 0 {
		return false
	}
	*p, it.left = it.value(&it.left[0]), it.left[1:]
	return true
}

// Done does nothing: there is nothing to give back.
func (it *iterator[E]) Done() {}

// Binary adds records to others, or to a list.
func (l recordList) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	if y, ok := y.(recordList); ok && op == syntax.PLUS {
		return slices.Concat(l, y), nil // it is on the left
	}
	return plus(op, l, y, side)
}

// Has reports whether a record is there, or one with a payload.
func (l recordList) Has(y starlark.Value) (bool, error) {
	switch y := y.(type) {
	case recordValue:
		return slices.ContainsFunc(l, y.equals), nil
	case starlark.String:
		return slices.ContainsFunc(l, func(r record.Record) bool { return r.Payload == string(y) }), nil
	}
	return false, nil
}

// CompareSameType compares records with others: they are equal or not.
func (l recordList) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := slices.EqualFunc(l, y.(recordList), func(a, b record.Record) bool { return recordValue{&a}.equals(b) })
	return equality(op, same, "records")
}

// madeList is a sequence that makes its values where a script looks at them.
type madeList interface {
	starlark.Sequence
	starlark.Indexable
}

// listOf makes a list of the values of a sequence.
func listOf(l madeList) *starlark.List {
	elements := make([]starlark.Value, l.Len())
	for i := range elements {
		elements[i] = l.Index(i)
	}
	return starlark.NewList(elements)
}

// plus adds a sequence to a list, on either side of it.
func plus(op syntax.Token, l madeList, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	list, ok := y.(*starlark.List)
	switch {
	case !ok || op != syntax.PLUS:
		return nil, nil
	case side == starlark.Left:
		return starlark.Binary(op, listOf(l), list)
	}
	return starlark.Binary(op, list, listOf(l))
}

// alike makes a list of records or operations that are to be compared with one.
func alike(x, y starlark.Value) (starlark.Value, starlark.Value) {
	made := func(v, other starlark.Value) starlark.Value {
		switch v := v.(type) {
		case recordList, opList:
			if _, ok := other.(*starlark.List); ok {
				return listOf(v.(madeList))
			}
		}
		return v
	}
	return made(x, y), made(y, x)
}

// recordValue is one record as a script has it. It knows its place in its file
// wherever the script puts it.
type recordValue struct{ r *record.Record }

var (
	_ starlark.HasAttrs   = recordValue{}
	_ starlark.Comparable = recordValue{}
)

func (v recordValue) String() string {
	return fmt.Sprintf("record(payload = %s, time_us = %d)", starlark.String(v.r.Payload), v.r.Time)
}
func (v recordValue) Type() string          { return "record" }
func (v recordValue) Freeze()               {}
func (v recordValue) Truth() starlark.Bool  { return true }
func (v recordValue) Hash() (uint32, error) { return starlark.String(v.r.Payload).Hash() }
func (v recordValue) AttrNames() []string   { return []string{"payload", "time_us"} }

// Attr is an attribute of the record.
func (v recordValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "payload":
		return starlark.String(v.r.Payload), nil
	case "time_us":
		return starlark.MakeInt64(v.r.Time), nil
	}
	return nil, nil
}

func (v recordValue) equals(r record.Record) bool {
	return v.r.Payload == r.Payload && v.r.Time == r.Time
}

// CompareSameType compares records: they are equal or not.
func (v recordValue) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, v.equals(*y.(recordValue).r), "records")
}

// records is an argument that is what records() returns, or a list of records or
// of payloads.
func (c *call) records(name string) ([]record.Record, error) {
	const want = "want what records() returns, or a list of records or of strings"
	switch v := c.arg(name).(type) {
	case recordList:
		return v, nil
	case starlark.Iterable:
		var all []record.Record
		if n := starlark.Len(v); n > 0 {
			all = make([]record.Record, 0, min(n, 1<<10))
		}
		for element := range starlark.Elements(v) {
			switch e := element.(type) {
			case recordValue:
				all = append(all, *e.r)
			case starlark.String:
				all = append(all, record.Record{Payload: string(e), Line: len(all) + 1})
			default:
				return nil, c.wrong(name, "got %s with %s at %d, %s", v.Type(), e.Type(), len(all), want)
			}
			if len(all) > maxCompared {
				return nil, c.wrong(name, "has over %d elements", maxCompared)
			}
		}
		return all, nil
	default:
		return nil, c.wrong(name, "got %s, %s", v.Type(), want)
	}
}

// transformed is an argument that is records, and what the parameter transform
// makes of them.
func (c *call) transformed(name string) ([]record.Record, error) {
	all, err := c.records(name)
	if err != nil || c.arg("transform") == nil {
		return all, err
	}
	fn, err := c.function("transform")
	if err != nil {
		return nil, err
	}
	out := make([]record.Record, 0, len(all))
	for _, r := range all {
		wrong := func(got string) error {
			return c.wrong("transform", "it returned %s for %s, want a string or a list of strings", got, shown(starlark.String(r.Payload)))
		}
		v, err := starlark.Call(c.thread, fn, starlark.Tuple{starlark.String(r.Payload)}, nil)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case starlark.String:
			r.Payload = string(v)
			out = append(out, r)
		case starlark.Iterable:
			for element := range starlark.Elements(v) {
				text, ok := starlark.AsString(element)
				if !ok {
					return nil, wrong(fmt.Sprintf("%s with %s", v.Type(), element.Type()))
				}
				r.Payload = text
				out = append(out, r)
				if len(out) > maxCompared {
					return nil, c.wrong("transform", "it returned over %d strings", maxCompared)
				}
			}
		default:
			return nil, wrong(v.Type())
		}
	}
	return out, nil
}

// recordElements are records as a checker compares them: by their payloads.
type recordElements struct {
	records []record.Record
	began   time.Time
}

func (e recordElements) Len() int          { return len(e.records) }
func (e recordElements) Text(i int) string { return e.records[i].Payload }

// Point is a record's place in its file or list, and its time since the run began.
func (e recordElements) Point(i int) history.Point {
	r := &e.records[i]
	return history.Point{Element: r.Payload, File: r.File, Place: r.Line, At: time.UnixMicro(r.Time).Sub(e.began)}
}

func (c *call) compares(records []record.Record) recordElements {
	return recordElements{records, c.host.run.Clock().Time(0)}
}

func checkSame(c *call) (starlark.Value, error) {
	sent, err := c.transformed("sent")
	if err != nil {
		return nil, err
	}
	received, err := c.records("received")
	if err != nil {
		return nil, err
	}
	return c.checked(history.Same(c.compares(sent), c.compares(received), c.truth("ordered")))
}

func checkSubset(c *call) (starlark.Value, error) {
	part, err := c.records("part")
	if err != nil {
		return nil, err
	}
	whole, err := c.transformed("whole")
	if err != nil {
		return nil, err
	}
	return c.checked(history.Subset(c.compares(part), c.compares(whole)))
}

func checkNoDuplicates(c *call) (starlark.Value, error) {
	all, err := c.records("records")
	if err != nil {
		return nil, err
	}
	return c.checked(history.NoDuplicates(c.compares(all)))
}

// maxCompared bounds how many records a comparison takes from a list, or from a
// transform; a file may have more.
const maxCompared = 1 << 24
