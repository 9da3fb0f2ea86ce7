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
	if s.stops > 0 {
		return s.since - s.stood
	}
	return s.elapsed() - s.stood
}

// apply has the clock stand still while a fault is applied. done is to be called
// when it has been, and returns when all those before it have; passed when the
// task has been told.
func (s *scheduler) apply() (done, passed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops++; s.stops == 1 {
		s.since = s.elapsed()
	}
	before, mine := s.lastDone, make(chan struct{})
	s.lastDone = mine
	return func() {
			if before != nil {
				<-before
			}
			s.mu.Lock()
			if s.stops--; s.stops == 0 {
				s.stood += s.elapsed() - s.since
			}
			rouse := s.rouse() // where the task was cancelled, it is not busy any more
			s.mu.Unlock()
			rouse()
		}, func() {
			close(mine)
		}
}

// tolerance is how late a task may go on without the clock being put back.
const tolerance = 10 * time.Millisecond

// sleeper is a task that waits for a time.
type sleeper struct {
	task   *task
	until  time.Duration // on the clock
	least  time.Duration // on the run's clock: not before that
	wake   func()
	roused bool
	stop   func() bool // that wake is called when the part of the run ends
}

// sleep waits until a time, and at least for so long.
func (t *task) sleep(until, least time.Duration) error {
	var self *sleeper
	err := t.block(false, func(wake func()) { self = t.lie(until, least, wake) })
	if self == nil {
		return err
	}
	if rose := t.rise(self); err == nil {
		err = rose
	}
	return err
}

// lie begins a sleep, at whose end wake is called. Of two until the same time the
// one that has begun first ends first.
func (t *task) lie(until, least time.Duration, wake func()) *sleeper {
	s := &t.host.scheduler
	self := &sleeper{task: t, until: until, least: later(s.elapsed(), least), wake: wake}
	s.mu.Lock()
	at := len(s.sleepers)
	for at > 0 && s.sleepers[at-1].until > until {
		at--
	}
	s.sleepers = slices.Insert(s.sleepers, at, self)
	rouse := s.rouse()
	s.mu.Unlock()
	self.stop = context.AfterFunc(t.part.ctx, wake)
	rouse()
	return self
}

// rise ends a sleep, and tells whether the run's work has ended meanwhile.
func (t *task) rise(self *sleeper) error {
	s := &t.host.scheduler
	s.mu.Lock()
	s.sleepers = slices.DeleteFunc(s.sleepers, func(x *sleeper) bool { return x == self })
	if self.roused { // else it was cancelled
		t.now = max(t.now, self.until)
		if late := s.clock() - t.now; late > tolerance {
			s.stood += late
		}
	}
	s.mu.Unlock()
	self.stop()
	return context.Cause(t.part.ctx)
}

// rouse wakes the first sleeper where its time has come, or sets the timer for it;
// not while a task is busy, or the clock stands still. The lock is held; what it returns is to be called
// without it.
func (s *scheduler) rouse() (wake func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.busy > 0 || s.stops > 0 || len(s.sleepers) == 0 {
		return func() {}
	}
	first := s.sleepers[0]
	left := max(first.until-s.clock(), first.least-s.elapsed())
	switch {
	case left <= 0:
		first.roused = true
		s.hold(first.task)
		return first.wake
	case s.timer == nil:
		s.timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			rouse := s.rouse()
			s.mu.Unlock()
			rouse()
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
