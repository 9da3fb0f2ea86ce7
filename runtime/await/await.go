// Package await is what can be waited for in a run: conditions, each a function of
// a View of the journal and its roster. A condition holds no process and no
// connection, appends nothing and waits for nothing; Journal.Watch and Journal.Await do that:
//
//	ready := await.Reached(j, []string{"leader"}, roster.StateReady)
//	err := j.Await(ready)
//
// What a condition finds, such as a message, is returned by a function that is made
// with it, and is to be called once it is met.
package await

import (
	"fmt"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// View is what a condition sees of a run. It is looked at with the journal's lock
// held. *journal.Journal is one.
type View interface {
	// Node finds a node; a *journal.StateError if there is none of that name.
	Node(name string) (*roster.Node, error)
	// Next is the seq that the next event will have.
	Next() int64
	// Deeds is how many events there are that nodes have caused.
	Deeds() int64
	// Find finds the first event in a part of the log that is wanted. The error is
	// that the log cannot be read back.
	Find(from, to int64, wanted func(event.Event) bool) (event.Event, bool, error)
}

// Reached waits until every named node has come as far as the state. A node
// that has exited has reached StateExited; one that exited as it was allowed
// to has reached StateDoneShutdown too. It becomes impossible when a node
// exits before the state, or closes its control connection and lives on.
func Reached(v View, names []string, s roster.State) journal.Condition {
	names = slices.Clone(names)
	left := map[string]bool{} // those that have not come, true where they cannot
	impossible := 0           // how many cannot
	settle := func(name string) error {
		n, err := v.Node(name)
		if err != nil {
			return err
		}
		if left[name] {
			impossible--
		}
		switch {
		case n.Has(s):
			delete(left, name)
		case n.State == "":
			return &journal.StateError{Node: name, Text: fmt.Sprintf("cannot await %s: it has not been forked", s)}
		default:
			left[name] = n.State == roster.StateExited || n.Lost && !n.WasStopped() && s != roster.StateExited
		}
		if left[name] {
			impossible++
		}
		return nil
	}
	those := func(impossible bool) (out []string) {
		for _, name := range names {
			if cannot, is := left[name]; is && cannot == impossible {
				out = append(out, name)
			}
		}
		return out
	}
	return journal.Condition{What: string(s), Nodes: names, Missing: func() []string { return those(false) },
		Check: func(news string) journal.Answer {
			look := names
			if news != "" {
				look = []string{news}
			}
			for _, name := range look {
				if err := settle(name); err != nil {
					return journal.Answer{Err: err}
				}
			}
			if impossible > 0 {
				return journal.Answer{Impossible: those(true)}
			}
			return journal.Answer{Met: len(left) == 0}
		}}
}

// Counted waits until a node's present incarnation has reported at least count
// messages by /count. It is impossible once the node is done with fewer. The
// function returns how many it has, once the condition is met.
func Counted(v View, name string, count int64) (journal.Condition, func() int64) {
	var reported int64
	c := journal.Condition{What: fmt.Sprintf("count of %d", count), Nodes: []string{name}}
	c.Check = func(string) journal.Answer {
		n, err := v.Node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		switch reported = n.Count; {
		case n.State != "" && reported >= count:
			return journal.Answer{Met: true}
		case n.State != "" && n.WasDone: // it counts no further
			return journal.Answer{Impossible: []string{name}}
		}
		return awaited(n)
	}
	return c, func() int64 { return reported }
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) journal.Condition {
	return journal.Condition{What: "sleep", Timeout: max(d, 1), Quiet: true, Expiry: true,
		Check: func(string) journal.Answer { return journal.Answer{} }}
}

// Change waits for the next event, or for what a node has done since Change was called,
// which is called with the lock held; at most for a while. That nothing came is no error.
func Change(v View, within time.Duration) journal.Condition {
	deeds, next := v.Deeds(), int64(-1)
	c := journal.Condition{What: "change", Timeout: max(within, 1), Quiet: true, Expiry: true, Always: true}
	c.Check = func(string) journal.Answer {
		if next < 0 { // what its caller did before it waits is no news to it
			next = v.Next()
		}
		return journal.Answer{Met: v.Next() > next || v.Deeds() > deeds}
	}
	return c
}

// awaited is the answer for a node that has not done what is awaited.
func awaited(n *roster.Node) journal.Answer {
	switch {
	case n.State == "":
		return journal.Answer{Err: &journal.StateError{Node: n.Name, Text: "cannot await anything of it: it has not been forked"}}
	case n.State == roster.StateExited, n.Lost:
		return journal.Answer{Impossible: []string{n.Name}}
	}
	return journal.Answer{}
}
