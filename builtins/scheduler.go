package builtins

import (
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime"
)

// scheduler lets exactly one task run at a time. A task runs until it waits;
// those whose wait has ended stand in a queue, put there by whatever ended the
// wait, so that they go on in the order of the events that woke them.
//
// What a script does in which order must not depend on how fast the machine is,
// as far as it waits for times, for tasks and for the faults that it has applied,
// and not for what nodes do:
//
//   - Every task has a time, which is not the clock's: where it slept, the time
//     until which, however late it goes on; where it awaited something, the
//     clock's. It sleeps from that time on.
//   - Sleepers go on one by one in the order of their times, the next when what the
//     last one has set off waits again: it, what it has spawned, and the faults that
//     they apply. Those tasks are busy, as is every one that runs.
//   - Tasks whose faults have been applied go on in the order in which the faults
//     were planned, after all others that can.
//   - The clock stands still while a fault is applied, and is put back where a task
//     goes on late by more than the tolerance, as the machine is busy or another
//     task computes. So what sleeps stays as far apart as it was.
type scheduler struct {
	mu         sync.Mutex
	queue      []*task
	applied    []*task // that go on after those in the queue
	current    *task
	tasks      []*task // that have not ended
	busy       int     // tasks that are
	sleepers   []*sleeper
	timer      *time.Timer          // for the first of them
	elapsed    func() time.Duration // the run's clock
	stoppedFor time.Duration        // how long the clock has stood still so far
	stoppers   int                  // faults that are being applied
	stoppedAt  time.Duration        // the time on the run's clock when the first of them was begun
	lastDone   chan struct{}        // closed when the last of them has been
	onAlone    func()               // called when only one of the tasks is left, or nil
}

// ready puts a task that waited in a queue.
func (s *scheduler) ready(t *task, queue *[]*task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*queue = append(*queue, t)
	s.dispatch()
}

// dispatch lets the next task run, if none does. The lock is held.
func (s *scheduler) dispatch() {
	for _, queue := range []*[]*task{&s.queue, &s.applied} {
		if s.current == nil && len(*queue) > 0 {
			s.current, *queue = (*queue)[0], (*queue)[1:]
			s.current.goOn <- struct{}{}
		}
	}
}

// leave lets others run until the task is ready again.
func (s *scheduler) leave(t *task) {
	s.mu.Lock()
	s.current = nil
	s.dispatch()
	s.mu.Unlock()
	<-t.goOn
}

// hold makes a task busy, and release makes it one that is not. The lock is held.
func (s *scheduler) hold(t *task) {
	if !t.busy && !t.over {
		t.busy = true
		s.busy++
	}
}

func (s *scheduler) release(t *task) {
	if t.busy {
		t.busy = false
		s.busy--
	}
}

// wait waits for something that the clock has to tell the time of.
func (t *task) wait(start func(wake func())) error {
	err := t.block(false, start)
	t.catchUp()
	return err
}

// catchUp makes the task's time that of the clock.
func (t *task) catchUp() {
	s := &t.host.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	t.now = max(t.now, s.clock())
}

// block is the only way in which a task waits. start begins something that calls
// wake when it has ended, from any goroutine, once or more; it may do so at
// once. A task that is cancelled goes on at once, with the reason as the error.
// Where busy, the task is until it goes on.
func (t *task) block(busy bool, start func(wake func())) error {
	s := &t.host.scheduler
	var once sync.Once
	queue := &s.queue
	if busy {
		queue = &s.applied
	}
	wake := func() { once.Do(func() { s.ready(t, queue) }) }
	s.mu.Lock()
	if t.cancelled != nil {
		s.mu.Unlock()
		return t.cancelled
	}
	t.wake = wake
	if busy {
		s.hold(t)
	}
	s.mu.Unlock()
	start(wake)
	if !busy {
		s.mu.Lock()
		s.release(t)
		wakeSleeper := s.wakeNext()
		s.mu.Unlock()
		wakeSleeper()
	}
	s.leave(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold(t)
	t.wake = nil
	return t.cancelled
}

// cancel ends a task: in the wait that it is in, or else between two of its
// instructions. The lock is held; what it returns is to be called without it.
func (t *task) cancel(why error) (wake func()) {
	if t.over || t.cancelled != nil {
		return func() {}
	}
	t.cancelled = why
	for _, thread := range t.threads {
		thread.Cancel(why.Error())
	}
	if t.wake == nil {
		return func() {}
	}
	return t.wake
}

// ended reports whether the task or its phase has been ended, so that
// no script may catch what comes of it.
func (t *task) ended() bool {
	s := &t.host.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.cancelled != nil || t.phase.ctx.Err() != nil
}

// await waits for a condition of the run.
func (t *task) await(condition runtime.Condition) error {
	var w *runtime.Watch
	if err := t.wait(func(wake func()) { w = t.host.run.Watch(condition, wake) }); err != nil {
		if w != nil {
			w.Stop()
		}
		return err
	}
	return w.Err()
}
