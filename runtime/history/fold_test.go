package history

import (
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// TestFold holds that a history is made of the events that Begin and End return.
func TestFold(t *testing.T) {
	r := NewRecorder()
	now := time.Duration(0)
	begin := func(name, node string, process int) int {
		t.Helper()
		d, err := r.Begin(node, name, "write", None, "1")
		if err != nil {
			t.Fatal(err)
		}
		now++
		r.Apply(event.Event{T: now, Node: node, Detail: d})
		if o := r.Op(r.Len() - 1); o.Process != process || !o.Open || o.Outcome != Info || o.Invoked != now || o.Client != name ||
			o.Node != node {
			t.Fatalf("%+v: want process %d at %d", o, process, now)
		}
		return d.Op
	}
	complete := func(index int, outcome Outcome) {
		t.Helper()
		d, err := r.End(index, outcome, "7", "why")
		if err != nil {
			t.Fatal(err)
		}
		now++
		r.Apply(event.Event{T: now, Detail: d})
		if o := r.Op(index); o.Open || o.Outcome != outcome || (o.Result == "7") != (outcome == OK) || o.Completed != now {
			t.Fatalf("%+v: want %s at %d", o, outcome, now)
		}
	}
	a := begin("a", "", 0)
	b := begin("b", "", 1)
	other := begin("a", "node", 2)
	if _, err := r.Begin("", "a", "read", None, None); err == nil {
		t.Error("a client has begun two operations")
	}
	complete(a, OK)
	complete(other, Fail)
	complete(b, Info)
	for _, wrong := range []int{-1, b, r.Len()} {
		if _, err := r.End(wrong, OK, None, ""); err == nil {
			t.Errorf("operation %d has completed", wrong)
		}
		r.Apply(event.Event{Detail: event.Completed{Op: wrong, Outcome: "ok"}})
	}
	if o := r.Op(b); o.Outcome != Info {
		t.Errorf("an operation has completed twice: %+v", o)
	}
	begin("a", "", 0)
	begin("a", "node", 2)
	last := begin("b", "", 3)
	r.Apply(event.Event{T: 1, Detail: event.Completed{Op: last, Outcome: "ok"}})
	if o := r.Op(last); o.Completed != o.Invoked {
		t.Errorf("an operation has completed before it was invoked: %+v", o)
	}
	r.Apply(event.Event{T: 10 * time.Second, Detail: event.Invoke{Op: 99}})
	r.Apply(event.Event{T: 10 * time.Second, Node: "n", Detail: event.Invoke{Op: r.Len(), At: 9.999999}})
	if o := r.Op(r.Len() - 1); o.Invoked != 9999999*time.Microsecond {
		t.Errorf("the time that a node has told is %s", o.Invoked)
	}
}
