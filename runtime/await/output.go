package await

import (
	"fmt"

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
	// Err is why the search cannot go on, or nil: what was written cannot be read back,
	// or is lost.
	Err() error
	// Stop gives the search up, and the line that is kept for it.
	Stop()
}

// Output is what is awaited of what a node writes. Its functions are called without
// the journal's lock.
type Output struct {
	What    string // for the log and for errors: see journal.Condition
	Search  Search
	ReadNow func() // returns when the Search sees all that was written before the call
}

// OutputFrom waits for a line that a search finds in the output of the node's present
// incarnation. At the deadline it looks at what has been written by then, a line that
// has not ended as it stands. It becomes impossible when the incarnation has written
// all that it has, or is followed by another. Where some of the output is lost, and the
// line is not in what there is, that is the error at once, a *journal.LogError: the line
// may have been in it.
func OutputFrom(v View, name string, o Output) journal.Condition {
	c := journal.Condition{What: o.What, Nodes: []string{name}, Begin: o.Search.Follow, GiveBack: o.Search.Stop}
	c.Late = func() {
		o.ReadNow()
		o.Search.Finish()
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
			return journal.Answer{Err: &journal.LogError{Err: fmt.Errorf("%s: log of %s: %w", o.What, name, err)}}
		}
		if over, restarted := o.Search.Over(); over && (restarted || n.State == roster.StateExited) {
			return journal.Answer{Impossible: []string{name}}
		}
		return journal.Answer{}
	}
	return c
}
