package fault

import (
	"context"
	"errors"
	"slices"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Step is something that was planned: to apply a fault, or to undo some. It is
// done or given up, whichever comes first, and what comes later does nothing.
type Step struct {
	book   *Book
	life   *Life
	do     func(context.Context) error
	undone func(ctx context.Context, why error) // what follows from giving it up

	// Under the journal's lock.
	mine  chan struct{} // closed when its turn has come; nil where it takes none
	ended chan struct{} // closed when it is over
	begun bool
	over  bool
	why   error // it was given up, or nil
}

// step plans a step. The lock is held.
func (b *Book) step(turn bool, do func(context.Context) error, undone func(context.Context, error)) *Step {
	s := &Step{book: b, do: do, undone: undone, ended: make(chan struct{})}
	b.open = append(b.open, s)
	if turn {
		s.mine = make(chan struct{})
		if b.turns = append(b.turns, s); len(b.turns) == 1 {
			close(s.mine)
		}
	}
	return s
}

// Life is the fault that the step applies; nil for one that undoes faults.
func (s *Step) Life() *Life { return s.life }

// Lasting reports whether the step applies a fault that stays in force.
func (s *Step) Lasting() bool { return s.life != nil && s.life.plan.Lasting }

// Do does the step when its turn has come, and returns when it is done. Where ctx is done
// before its turn, or the run's work is, it is given up.
func (s *Step) Do(ctx context.Context) error { return s.DoInTime(ctx, nil, nil) }

// DoInTime is Do for a step that is given up, for a reason, if late is closed before its
// turn has come. One that has begun is done.
func (s *Step) DoInTime(ctx context.Context, late <-chan struct{}, why error) error {
	j := s.book.j
	isLate := false
	if s.mine != nil {
		select {
		case <-s.mine:
		default:
			select {
			case <-s.mine:
			case <-s.ended:
			case <-ctx.Done():
			case <-late:
				isLate = true
			}
		}
	}
	j.Lock()
	switch {
	case s.why != nil:
		defer j.Unlock()
		return s.why
	case s.over || s.begun:
		j.Unlock()
		return errOver
	case ctx.Err() != nil:
		defer j.Unlock()
		s.giveUp(ctx, context.Cause(ctx))
		return context.Cause(ctx)
	case isLate:
		defer j.Unlock()
		s.giveUp(ctx, why)
		return why
	}
	s.begun = true
	j.Unlock()
	err := s.do(ctx)
	j.Lock()
	defer j.Unlock()
	s.end()
	return err
}

// errOver is the error of a step that is done again.
var errOver = errors.New("it was done before")

// GiveUp gives the step up, unless it was begun.
func (s *Step) GiveUp(why error) {
	s.book.j.Lock()
	defer s.book.j.Unlock()
	if !s.begun && !s.over {
		s.giveUp(context.Background(), why)
	}
}

// giveUp gives the step up for the cause of ctx. The lock is held.
func (s *Step) giveUp(ctx context.Context, why error) {
	s.why = why
	s.undone(ctx, why)
	s.end()
}

// end lets the next step have its turn. The lock is held.
func (s *Step) end() {
	b := s.book
	s.over = true
	close(s.ended)
	b.open = slices.DeleteFunc(b.open, func(o *Step) bool { return o == s })
	if s.mine == nil {
		return
	}
	first := b.turns[0] == s
	b.turns = slices.DeleteFunc(b.turns, func(o *Step) bool { return o == s })
	if first && len(b.turns) > 0 {
		close(b.turns[0].mine)
	}
}

// Schedule is a fault that the script means to do: given to after, every or
// spawn, directly or as a function whose own text has one.
type Schedule struct {
	book         *Book
	id           int64
	fired, ended bool
}

// Schedule logs that a fault is scheduled. What is not fired when the run ends
// has shown nothing. It takes the lock.
func (b *Book) Schedule(what, where string) *Schedule {
	b.j.Lock()
	defer b.j.Unlock()
	s := &Schedule{book: b, id: b.j.NewID()}
	b.schedules = append(b.schedules, s)
	b.j.Append("", event.Scheduled{ID: s.id, What: what, Where: where})
	return s
}

// Fire logs that what was scheduled has fired: a fault of it that does harm was planned,
// or the function came to its end without one. To fire once more does nothing.
func (s *Schedule) Fire() {
	s.book.j.Lock()
	defer s.book.j.Unlock()
	if !s.fired && !s.ended {
		s.fired = true
		s.book.j.Append("", event.Fired{ID: s.id})
	}
}

// Cancel logs that the script has given up what was scheduled, unless it fired.
func (s *Schedule) Cancel() {
	s.book.j.Lock()
	defer s.book.j.Unlock()
	s.close("script", "the script cancelled it")
}

// close logs that it will not fire any more. The lock is held.
func (s *Schedule) close(by, why string) {
	if !s.fired && !s.ended {
		s.ended = true
		s.book.j.Append("", event.Abandoned{ID: s.id, By: by, Reason: why})
	}
}
