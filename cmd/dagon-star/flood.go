package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Of the messages of one address that go one way between a node and us, as many as
// floodBurst are shown in floodTime; the others are counted, until then or until
// another line is shown.
const (
	floodBurst = 3
	floodTime  = time.Second
	floodKeys  = 1000 // of which so many are remembered, beside those that are counted
)

// message is what is counted: "stored" of a node, or "← load" to it.
type message struct{ node, address string }

// flood is what is known of a message that comes again and again.
type flood struct {
	since  time.Duration // the present floodTime began
	shown  int           // in it
	hidden int           // since the last line
	last   string        // of the hidden, as it would be shown
}

// held reports whether a message is counted and not shown, what it would be shown
// as. It shows how many were where it is time to.
func (t *terminal) held(e event.Event, m message, what string) bool {
	f := t.floods[m]
	if f == nil {
		if t.floods == nil || len(t.floods) >= floodKeys {
			old := t.floods
			t.floods = map[message]*flood{}
			for _, k := range t.hidden {
				t.floods[k] = old[k]
			}
		}
		f = &flood{since: e.T}
		t.floods[m] = f
	}
	over := e.T-f.since >= floodTime
	if over {
		f.since = e.T
		if f.shown = 0; f.hidden >= floodBurst { // it goes on
			f.shown = floodBurst
		}
	}
	if f.hidden == 0 && f.shown < floodBurst {
		f.shown++
		return false
	}
	if f.hidden++; f.hidden == 1 {
		t.hidden = append(t.hidden, m)
	}
	f.last = what
	if over {
		t.tellHidden(e, m)
		t.hidden = slices.DeleteFunc(t.hidden, func(k message) bool { return k == m })
	}
	return true
}

// tellAllHidden shows how many messages were not, in the order in which they began.
func (t *terminal) tellAllHidden(e event.Event) {
	for _, m := range t.hidden {
		t.tellHidden(e, m)
	}
	t.hidden = t.hidden[:0]
}

func (t *terminal) tellHidden(e event.Event, m message) {
	f := t.floods[m]
	what := f.last
	if f.hidden > 1 {
		what = fmt.Sprintf("%s ×%d", m.address, f.hidden)
	}
	f.hidden, f.last = 0, ""
	e.Node = m.node
	t.line(e, what)
}
