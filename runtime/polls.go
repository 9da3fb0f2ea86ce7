package runtime

import (
	"errors"
	"fmt"
	"time"
)

// Polls counts the actions that a wait tries again and again, so that each is one event.
// It is not safe for concurrent use.
type Polls struct {
	run   *Run
	order []polled
	at    map[polled]*tries
}

// polled is an action that is tried again and again.
type polled struct{ node, what string }

// tries is what those of one action have come to.
type tries struct {
	n    int
	took time.Duration
	err  error // of the one that tells most
}

// Poll begins to count actions. Log must be called.
func (r *Run) Poll() *Polls { return &Polls{run: r, at: map[polled]*tries{}} }

// Acted counts an action that has come to its outcome. Of those of one name the last is
// told, unless it was given up: what the one before came to tells more.
func (p *Polls) Acted(node, what string, took time.Duration, err error) {
	key := polled{node, what}
	t := p.at[key]
	if t == nil {
		t = &tries{}
		p.at[key] = t
		p.order = append(p.order, key)
	}
	t.n++
	var gaveUp *GivenUpError
	if t.n == 1 || !errors.As(err, &gaveUp) {
		t.took, t.err = took, err
	}
}

// Log logs what was counted, in the order in which the actions were first tried.
func (p *Polls) Log() {
	for _, key := range p.order {
		t := p.at[key]
		p.run.Acted(key.node, key.what, t.n, t.took, t.err)
	}
}

// GivenUpError is an action that was under way when what it is part of was ended, or had
// used up its time: nobody knows whether it was done.
type GivenUpError struct {
	Node, What string
	Why        error
}

func (e *GivenUpError) Error() string {
	return fmt.Sprintf("%s on %s was given up: %v [info: nobody knows whether it was done]", e.What, e.Node, e.Why)
}
