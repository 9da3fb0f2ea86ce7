package builtins

import (
	"context"
	"math"
	"slices"
	"time"
)

// clock is the time that the times of tasks follow: the run's, less all the time
// that it stood still. The lock is held.
func (s *scheduler) clock() time.Duration {
	if s.stoppers > 0 {
		return s.stoppedAt - s.stoppedFor
	}
	return s.elapsed() - s.stoppedFor
}

// apply has the clock stand still while a fault is applied. done is to be called
// when it has been, and returns when all those before it have; passed when the
// task has been told.
func (s *scheduler) apply() (done, passed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stoppers++; s.stoppers == 1 {
		s.stoppedAt = s.elapsed()
	}
	before, mine := s.lastDone, make(chan struct{})
	s.lastDone = mine
	return func() {
			if before != nil {
				<-before
			}
			s.mu.Lock()
			if s.stoppers--; s.stoppers == 0 {
				s.stoppedFor += s.elapsed() - s.stoppedAt
			}
			wakeSleeper := s.wakeNext() // where the task was cancelled, it is not busy any more
			s.mu.Unlock()
			wakeSleeper()
		}, func() {
			close(mine)
		}
}

// tolerance is how late a task may go on without the clock being put back.
const tolerance = 10 * time.Millisecond

// sleeper is a task that waits for a time.
type sleeper struct {
	task      *task
	until     time.Duration // on the clock
	notBefore time.Duration // on the run's clock: not before that
	wake      func()
	woken     bool
	stop      func() bool // that wake is called when the phase ends
}

// sleep waits until a time, and at least for so long.
func (t *task) sleep(until, atLeast time.Duration) error {
	var self *sleeper
	err := t.block(false, func(wake func()) { self = t.beginSleep(until, atLeast, wake) })
	if self == nil {
		return err
	}
	if ended := t.endSleep(self); err == nil {
		err = ended
	}
	return err
}

// beginSleep begins a sleep, at whose end wake is called. Of two until the same time the
// one that has begun first ends first.
func (t *task) beginSleep(until, atLeast time.Duration, wake func()) *sleeper {
	s := &t.host.scheduler
	self := &sleeper{task: t, until: until, notBefore: later(s.elapsed(), atLeast), wake: wake}
	s.mu.Lock()
	at := len(s.sleepers)
	for at > 0 && s.sleepers[at-1].until > until {
		at--
	}
	s.sleepers = slices.Insert(s.sleepers, at, self)
	wakeSleeper := s.wakeNext()
	s.mu.Unlock()
	self.stop = context.AfterFunc(t.phase.ctx, wake)
	wakeSleeper()
	return self
}

// endSleep ends a sleep. The error is why the phase has been ended meanwhile, or nil.
func (t *task) endSleep(self *sleeper) error {
	s := &t.host.scheduler
	s.mu.Lock()
	s.sleepers = slices.DeleteFunc(s.sleepers, func(x *sleeper) bool { return x == self })
	if self.woken { // else it was cancelled
		t.now = max(t.now, self.until)
		if late := s.clock() - t.now; late > tolerance {
			s.stoppedFor += late
		}
	}
	s.mu.Unlock()
	self.stop()
	return context.Cause(t.phase.ctx)
}

// wakeNext wakes the first sleeper where its time has come, or sets the timer for
// it; not while a task is busy, or the clock stands still. The lock is held; what it
// returns is to be called without it.
func (s *scheduler) wakeNext() (wake func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.busy > 0 || s.stoppers > 0 || len(s.sleepers) == 0 {
		return func() {}
	}
	first := s.sleepers[0]
	left := max(first.until-s.clock(), first.notBefore-s.elapsed())
	switch {
	case left <= 0:
		first.woken = true
		s.hold(first.task)
		return first.wake
	case s.timer == nil:
		s.timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			wakeSleeper := s.wakeNext()
			s.mu.Unlock()
			wakeSleeper()
		})
	default:
		s.timer.Reset(left)
	}
	return func() {}
}

// later is the time a while after another.
func later(from, d time.Duration) time.Duration {
	if from > math.MaxInt64-d {
		return math.MaxInt64
	}
	return from + d
}
