package await

import (
	"fmt"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Search looks for a line in what a node writes. *output.Search is one.
type Search interface {
	// Follow has recheck called, from any goroutine and without a lock, each time
	// that Met, Over or Err may say something new.
	Follow(recheck func())
	// Finish looks at all that there is, a line that has not ended as it stands.
	Finish()
	// Met reports whether a line has been found, which is kept for the search.
	Met() bool
	// Over reports whether no line can be found any more: the incarnation has written
	// all that it has, or has been followed by another.
	Over() (over, restarted bool)
	// Err is why the search cannot go on, or nil.
	Err() error
	// Stop gives the search up, and the line that is kept for it.
	Stop()
}

// Output is what is awaited of what a node writes. Its functions are called without
// the journal's lock.
type Output struct {
	What    string // for the log and for errors: see journal.Condition
	Search  Search
	ReadNow func()       // returns when the Search sees all that was written before the call
	Lost    func() error // why not all that was written can be searched, or nil
}

// OutputFrom waits for a line that a search finds in the output of the node's present
// incarnation. At the deadline it looks at what has been written by then, a line that
// has not ended as it stands. It becomes impossible when the incarnation has written
// all that it has, or is followed by another. That some of the output is lost is an
// error at the deadline alone, for it may be why the line has not come.
func OutputFrom(v View, name string, o Output) journal.Condition {
	var lost atomic.Pointer[error]
	c := journal.Condition{What: o.What, Nodes: []string{name}, Begin: o.Search.Follow, GiveBack: o.Search.Stop}
	c.Late = func() {
		o.ReadNow()
		o.Search.Finish()
		if err := o.Lost(); err != nil {
			err = fmt.Errorf("%s: what it wrote is lost: %w", o.What, err)
			lost.Store(&err)
		}
	}
	c.Check = func(string) journal.Answer {
		n, err := v.Node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		if n.State == "" {
			return awaited(n)
		}
		if o.Search.Met() {
			return journal.Answer{Met: true}
		}
		if err := o.Search.Err(); err != nil {
			return journal.Answer{Err: fmt.Errorf("%s: %w", name, err)}
		}
		if err := lost.Load(); err != nil {
			return journal.Answer{Err: *err}
		}
		if over, restarted := o.Search.Over(); over && (restarted || n.State == roster.StateExited) {
			return journal.Answer{Impossible: []string{name}}
		}
		return journal.Answer{}
	}
	return c
}
