package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Group is a part of a script that leaves no task behind: its first task, and all that
// this has spawned.
type Group struct {
	ctx context.Context

	// Under the scheduler's lock.
	tasks     map[*Task]bool
	finishing *Task // the first, when it waits for the others to end
}

// errLeft is why a task ends that its group has left behind.
var errLeft = errors.New("the part of the script that had spawned it has ended")

// StuckError is a task that did not come back when it was to end: it computes in one
// call, which nothing can interrupt. The scheduler lets nobody run after it.
type StuckError struct{ Task *Task }

func (e *StuckError) Error() string { return fmt.Sprintf("task %s did not come back", e.Task.path) }

// Run runs body as the first task of a group, named path, and returns when all tasks of
// the group have ended: those that the first one leaves behind are cancelled. When ctx
// is done, all waits of the group end with its cause. A task that does not come back
// within patience then, or at once when hurry is done, is left: the error is a
// *StuckError.
func (s *Scheduler) Run(ctx context.Context, path string, patience time.Duration, hurry <-chan struct{}, owner Owner,
	body func(*Task)) error {
	g := &Group{ctx: ctx, tasks: map[*Task]bool{}}
	first := s.task(g, path, owner, func(t *Task) {
		defer g.finish(t)
		body(t)
	})
	first.done = make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		g.end()
	})
	defer stop()
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return &StuckError{first}
	}
	g.tasks[first] = true
	s.enter(first, 0, sleeps)
	s.goOn()
	s.mu.Unlock()
	select {
	case <-first.done:
		return nil
	case <-ctx.Done():
	}
	return s.awaitEnd(first, patience, hurry)
}

// awaitEnd waits for the end of a group that is to end, as long as its tasks come back
// from what they do.
func (s *Scheduler) awaitEnd(first *Task, patience time.Duration, hurry <-chan struct{}) error {
	for turn := int64(-1); ; {
		s.mu.Lock()
		stuck := s.current
		if s.turns != turn {
			turn, stuck = s.turns, nil
		}
		if stuck != nil {
			s.abandon(stuck)
		}
		s.mu.Unlock()
		if stuck != nil {
			return &StuckError{stuck}
		}
		late, stop := s.clock.After(patience)
		select {
		case <-first.done:
			stop()
			return nil
		case <-hurry:
			hurry, patience, turn = nil, brief, -1
		case <-late:
		}
		stop()
	}
}

// abandon lets nobody run any more: who waits is to end. The lock is held.
func (s *Scheduler) abandon(stuck *Task) {
	stuck.stuck, s.dead = true, true
	close(s.abandoned)
	s.running.done() // the one that is stuck
}

// end ends all tasks of a group, whose context is done. The lock is held.
func (g *Group) end() {
	for _, t := range g.inOrder() {
		t.owner.Interrupt(context.Cause(g.ctx))
		if t.waiting != 0 { // else it keeps its place
			t.rank = sleeps // it does not wait for its fault
			t.wake(t.waiting, sleeps)
		}
	}
}

// inOrder are the group's tasks in the order in which they were spawned, as far as that
// matters. The lock is held.
func (g *Group) inOrder() []*Task {
	tasks := make([]*Task, 0, len(g.tasks))
	for t := range g.tasks {
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, func(a, b *Task) int { return cmp.Compare(a.path, b.path) })
	return tasks
}

// finish ends the tasks that a group's first has left behind.
func (g *Group) finish(first *Task) {
	s := first.s
	s.mu.Lock()
	if g.ctx.Err() != nil {
		g.end()
	}
	for _, t := range g.inOrder() {
		if t != first && g.ctx.Err() == nil {
			t.cancel(errLeft)
		}
	}
	g.finishing = first
	for len(g.tasks) > 1 && !s.dead {
		first.waiting = forOthers
		s.leave(first, false)
		select {
		case <-first.goOn:
		case <-s.abandoned:
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
}
