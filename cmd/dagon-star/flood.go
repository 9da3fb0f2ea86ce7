package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
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

// What is shown of a message's arguments, and of one of them, in characters.
const (
	maxArguments = 60
	maxArgument  = 40
)

// arguments are those of a message as they are shown after its address; nothing
// where all that it tells is the node's name.
func arguments(node string, args event.Args) string {
	if len(args) == 1 && args[0] == node {
		return ""
	}
	text := strings.Join(argumentWords(args), " ")
	switch {
	case text == "":
		return ""
	case utf8.RuneCountInString(text) > maxArguments:
		return " " + string([]rune(text)[:maxArguments]) + "…"
	}
	return " " + text
}

func argumentWords(args []any) (words []string) {
	for _, a := range args[:min(len(args), maxArguments)] {
		word := ""
		switch a := a.(type) {
		case string:
			if word = fmt.Sprintf("%.*q", maxArgument, a); utf8.RuneCountInString(a) > maxArgument {
				word += "…"
			}
		case []byte:
			word = fmt.Sprintf("<%d bytes>", len(a))
		case osc.Array:
			word = "[" + strings.Join(argumentWords(a), " ") + "]"
		case nil:
			word = "None"
		case bool:
			if word = "False"; a {
				word = "True"
			}
		default:
			word = fmt.Sprint(a)
		}
		words = append(words, word)
	}
	return words
}
