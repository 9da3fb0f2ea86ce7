package builtins

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/fault"
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
	mu       sync.Mutex
	queue    []*task
	applied  []*task // that go on after those in the queue
	current  *task
	tasks    []*task // that have not ended
	busy     int     // tasks that are
	sleepers []*sleeper
	timer    *time.Timer          // for the first of them
	elapsed  func() time.Duration // the run's clock
	stood    time.Duration        // how long the clock has stood still so far
	stops    int                  // faults that are being applied
	since    time.Duration        // the time on the run's clock when the first of them was begun
	lastDone chan struct{}        // closed when the last of them has been
	idle     func()               // called when only one of the tasks is left, or nil
}

// part is the main part of a script or a deferred call, with all tasks that it
// spawns. One part runs at a time, and it leaves no task behind.
type part struct {
	ctx   context.Context // done when the part is to end at once
	abort func(error)     // ends the part's work with an error
	// during is "" for the main part, and else which part of the end it is, as
	// findings have it.
	during string

	// Under the scheduler's lock.
	failed   error // a task's
	failedAt string
}

// task is a script's main part, a deferred call, or what these have spawned.
type task struct {
	host     *Host
	part     *part
	path     string // its place in the tree of spawns
	at       string // the place in a file that spawned it
	children int
	random   *rand.Rand
	now      time.Duration   // its own time; for it alone while it lives
	goOn     chan struct{}   // it may run
	schedule *fault.Schedule // of the fault that it is to do; nil where it does something else

	// Under the scheduler's lock.
	threads   []*starlark.Thread
	busy      bool
	wake      func() // ends its present wait, or nil
	cancelled error  // why it is to end, or nil
	over      bool
	result    starlark.Value
	err       error
	waiters   []waiter
}

// waiter is a task that waits for another to end.
type waiter struct {
	task *task
	wake func()
}

var errCancelled = fault.ErrGivenUp

// newTask makes a task. What it draws depends on the seed and on its place in
// the tree of spawns, not on what other tasks do when.
func (h *Host) newTask(p *part, path string, now time.Duration) *task {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], h.run.Seed())
	t := &task{host: h, part: p, path: path, now: now, goOn: make(chan struct{}, 1)}
	t.random = rand.New(rand.NewChaCha8(sha256.Sum256(append(seed[:], path...))))
	s := &h.scheduler
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	return t
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
		rouse := s.rouse()
		s.mu.Unlock()
		rouse()
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

// ended tells whether the task or its part of the run has been ended, so that
// no script may catch what comes of it.
func (t *task) ended() bool {
	s := &t.host.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.cancelled != nil || t.part.ctx.Err() != nil
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

// sleeper is a task that waits for a time.
type sleeper struct {
	task   *task
	until  time.Duration // on the clock
	least  time.Duration // on the run's clock: not before that
	wake   func()
	roused bool
	stop   func() bool // that wake is called when the part of the run ends
}

// tolerance is how late a task may go on without the clock being put back.
const tolerance = 10 * time.Millisecond

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

// spawn starts a task that calls body after a delay, 0 for at once, for the call
// that the thread is in; schedule is the fault that it is to do, or nil. Its error ends the part of the run that
// it belongs to.
func (t *task) spawn(of *starlark.Thread, delay time.Duration, schedule *fault.Schedule, body func(*task, *starlark.Thread) (starlark.Value, error)) *Task {
	h, s := t.host, &t.host.scheduler
	t.children++
	child := h.newTask(t.part, t.path+"/"+strconv.Itoa(t.children), t.now)
	child.schedule = schedule
	if of.CallStackDepth() > 1 {
		child.at = of.CallFrame(1).Pos.String()
	}
	thread := h.thread("task "+child.path, child)
	var once sync.Once
	begin := func() { once.Do(func() { s.ready(child, &s.queue) }) }
	s.mu.Lock()
	if child.cancelled == nil {
		child.cancelled = t.cancelled
	}
	child.wake = begin
	if child.cancelled != nil {
		delay = 0
	}
	if delay == 0 {
		s.hold(child)
	}
	s.mu.Unlock()
	var asleep *sleeper
	if delay > 0 {
		asleep = child.lie(later(t.now, delay), delay, begin)
	} else {
		begin()
	}
	h.waits.Go(func() {
		<-child.goOn
		s.mu.Lock()
		s.hold(child)
		child.wake = nil
		err := child.cancelled
		s.mu.Unlock()
		if asleep != nil {
			if rose := child.rise(asleep); err == nil {
				err = rose
			}
		}
		var result starlark.Value
		if err == nil && child.schedule != nil {
			child.schedule.Fire()
		}
		if err == nil {
			result, err = contained(func() (starlark.Value, error) { return body(child, thread) })
		}
		h.ended(child, result, err)
	})
	return &Task{task: child}
}

// ended ends a task and lets the next run.
func (h *Host) ended(t *task, result starlark.Value, err error) {
	s, p := &h.scheduler, t.part
	s.mu.Lock()
	failed := err != nil && t.cancelled == nil
	if failed && p.failed == nil && p.ctx.Err() == nil {
		p.failed, p.failedAt = err, t.at
	}
	s.mu.Unlock()
	if failed {
		p.abort(err)
	}
	s.mu.Lock()
	t.over, t.result, t.err = true, result, err
	t.threads = nil
	for _, waiter := range t.waiters {
		s.hold(waiter.task) // it goes on at the task's time
	}
	s.release(t)
	rouse := s.rouse()
	s.tasks = slices.DeleteFunc(s.tasks, func(x *task) bool { return x == t })
	waiters, idle := t.waiters, s.idle
	t.waiters = nil
	if len(s.tasks) > 1 {
		idle = nil
	}
	s.mu.Unlock()
	for _, waiter := range waiters {
		waiter.wake()
	}
	rouse()
	if idle != nil {
		idle()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	s.dispatch()
}

// runPart runs a part to its end, and ends the tasks that it leaves behind. The
// error is that of the task that failed first, else its own.
func (h *Host) runPart(p *part, path string, body func(*starlark.Thread) error) error {
	s := &h.scheduler
	s.mu.Lock()
	now := s.clock()
	s.mu.Unlock()
	t := h.newTask(p, path, now)
	s.mu.Lock()
	s.current = t
	s.hold(t)
	s.mu.Unlock()
	_, err := contained(func() (starlark.Value, error) { return nil, body(h.thread(path, t)) })

	s.mu.Lock()
	t.over, t.threads = true, nil
	s.release(t)
	var wakes []func()
	for _, left := range s.tasks {
		if left != t {
			wakes = append(wakes, left.cancel(errors.New("the part of the script that had spawned it has ended")))
		}
	}
	if len(wakes) > 0 {
		s.idle = func() { s.ready(t, &s.queue) }
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	if len(wakes) > 0 {
		s.leave(t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle, s.current, s.tasks = nil, nil, nil
	if p.failed != nil {
		return p.failed
	}
	return err
}

// cancelPart ends what computes in a part without end. The waits of the main
// part end by themselves, as the run ends them; those of a deferred call, which
// is made when the run is over, are ended here.
func (h *Host) cancelPart(p *part, why error) {
	s := &h.scheduler
	s.mu.Lock()
	var wakes []func()
	for _, t := range s.tasks {
		switch {
		case t.part != p:
		case p.during != "":
			wakes = append(wakes, t.cancel(why))
		default:
			for _, thread := range t.threads {
				thread.Cancel(why.Error())
			}
		}
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}
