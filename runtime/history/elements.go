package history

import (
	"cmp"
	"slices"
	"time"
)

// Elements are a list of what a checker compares: Ops, a List, or a list of the
// caller's own, such as the records of a file.
type Elements interface {
	Len() int
	Text(i int) string // the element, as it is compared
	Point(i int) Point // the element, and where it is from
}

// List is a plain list. As attempts, all of it was acknowledged.
type List []Value

// Len, Text and Point implement Elements.
func (l List) Len() int          { return len(l) }
func (l List) Text(i int) string { return cmp.Or(l[i], "null").Text() }
func (l List) Point(i int) Point { return Point{Element: l.Text(i), Place: i + 1} }

// Ops are operations. As attempts, each is of one element: its Value, or its Result
// where the system chose it. As what was read, taken or given out, each that is OK
// is of the element that it returned, or of those of the list that it returned.
type Ops []Op

// Len, Text and Point implement Elements.
func (o Ops) Len() int          { return len(o) }
func (o Ops) Text(i int) string { return o[i].element().Text() }
func (o Ops) Point(i int) Point { return attempts{&o[i]}.Point(0) }

// element is what an operation is an attempt of.
func (o *Op) element() Value {
	if o.Value.IsNone() {
		return o.Result
	}
	return o.Value
}

// Plain makes operations of a plain list, all of them OK and done at a time: reads
// return the values, all others were invoked with them. Their Process is -1.
func Plain(f string, values []Value, at time.Duration) Ops {
	ops := make(Ops, len(values))
	for i, v := range values {
		ops[i] = Op{Index: i, Process: -1, F: f, Outcome: OK, Invoked: at, Completed: at}
		if f == "read" {
			ops[i].Result = v
		} else {
			ops[i].Value = v
		}
	}
	return ops
}

// attempts are the operations of a history that put an element there.
type attempts []*Op

func (a attempts) Len() int          { return len(a) }
func (a attempts) Text(i int) string { return a[i].element().Text() }
func (a attempts) Point(i int) Point {
	p := Point{Element: a.Text(i), Op: a[i], At: a[i].Completed, Detail: "acknowledged"}
	switch {
	case a[i].Outcome == Fail:
		p.Detail = "refused"
	case a[i].Outcome == Info:
		p.Detail, p.At = "attempted", a[i].Invoked
	}
	return p
}

// attempted is what is to be found: of operations those of which is holds.
func attempted(e Elements, is func(*Op) bool) Elements {
	ops, ok := e.(Ops)
	if !ok {
		return e
	}
	all := make(attempts, 0, len(ops))
	for i := range ops {
		if o := &ops[i]; is(o) && !o.element().IsNone() {
			all = append(all, o)
		}
	}
	return all
}

// returned are elements that operations returned.
type returned struct {
	values []Value
	ops    []*Op // of each, which one returned it
	how    string
}

func (r *returned) Len() int          { return len(r.values) }
func (r *returned) Text(i int) string { return r.values[i].Text() }
func (r *returned) Point(i int) Point {
	return Point{Element: r.Text(i), Op: r.ops[i], At: r.ops[i].Completed, Detail: r.how}
}

// add adds what an operation returned.
func (r *returned) add(o *Op) {
	v := o.Returned()
	if v.IsNone() {
		return
	}
	elements, ok := v.List()
	if !ok {
		elements = []Value{v}
	}
	for _, e := range elements {
		r.values = append(r.values, e)
		r.ops = append(r.ops, o)
	}
}

// found are elements that were found; how is what became of them: "read". Of
// operations they are what those that are OK, and of which is holds, returned.
func found(e Elements, how string, is func(*Op) bool) Elements {
	ops, ok := e.(Ops)
	if !ok {
		return e
	}
	r := &returned{how: how}
	for i := range ops {
		if o := &ops[i]; o.Outcome == OK && is(o) {
			r.add(o)
		}
	}
	return r
}

// called makes a condition of names: an operation is called one of them.
func called(fs ...string) func(*Op) bool {
	return func(o *Op) bool { return slices.Contains(fs, o.F) }
}

// not makes a condition of names: an operation is called none of them.
func not(fs ...string) func(*Op) bool {
	return func(o *Op) bool { return !slices.Contains(fs, o.F) }
}
