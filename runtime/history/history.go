// Package history is what the clients of a system did to it, and what can be told
// by looking at that.
//
// A history is a list of operations, in the order in which they began. Each was
// invoked by a process and came to an outcome: it was surely done, surely not done,
// or nobody knows. A process does one operation at a time; after one of which
// nobody knows, its client goes on as a new process, as the old one's operation may
// still take effect. The terms, and the shape of the file, are those of Jepsen.
//
// A checker is a function of operations. What it says is a Result, which has three
// values: the history is valid, it is invalid, or it shows nothing either way.
// The package does no I/O, but for writers that it is given, and knows no run.
package history

import "time"

// Outcome is what became of an operation.
type Outcome string

// The outcomes.
const (
	OK   Outcome = "ok"   // it was done
	Fail Outcome = "fail" // it was surely not done
	Info Outcome = "info" // nobody knows, and it may still be done
)

// Op is an operation.
type Op struct {
	Index   int    // its place in the history, from 0
	Process int    // who did it, from 0
	Client  string // who that is a process of, as the script or the node calls it
	Node    string // the node that told of it; "" for a script's
	F       string // what was done: "add", "read", "write"
	Key     Value  // what it was done to; None where the system has but one
	Value   Value  // what it was invoked with; None for an operation that asks
	Result  Value  // what it came back with; None where that is nothing, or not OK
	Outcome Outcome
	Error   string // why it is not OK
	// Invoked and Completed are times of the run. What lies between them belongs to
	// the operation, both ends included.
	Invoked, Completed time.Duration
	// Open is an operation that has not completed. Its outcome is Info.
	Open bool
}

// Returned returns what the operation says of the system: its result where it was
// invoked with nothing, or where both are lists, as those of a transaction are; else
// what it was invoked with.
func (o *Op) Returned() Value {
	if o.Outcome == OK && (o.Value.IsNone() || o.Value.IsList() && o.Result.IsList()) {
		return o.Result
	}
	return o.Value
}
