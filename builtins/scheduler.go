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
)

// scheduler lets exactly one task run at a time. A task runs until it waits;
// those whose wait has ended stand in a queue, put there by whatever ended the
// wait, so that they go on in the order of the events that woke them.
type scheduler struct {
	mu       sync.Mutex
	queue    []*task
	current  *task
	tasks    []*task // that have not ended
	sleepers []*sleeper
	awake    *sleeper // that is to go on next; the others wait until it has
	timer    *time.Timer
	elapsed  func() time.Duration // the run's clock
	stood    time.Duration        // how long the clock of the tasks has stood still so far
	stops    int                  // what keeps it from going on
	since    time.Duration        // the time on the run's clock when it stopped
	idle     func()               // called when only one of the tasks is left, or nil
}

// part is the main part of a script or a deferred call, with all tasks that it
// spawns. One part runs at a time, and it leaves no task behind.
type part struct {
	ctx   context.Context // done when the part is to end at once
	abort func(error)     // ends the part's work with an error
	last  bool            // the run is ending: it is a deferred call

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
	goOn     chan struct{} // it may run
	fault    string        // that it was to do, and where the script says so; "" for a task that does something else

	// Under the scheduler's lock.
	threads   []*starlark.Thread
	fired     bool   // it has begun
	wake      func() // ends its present wait, or nil
	cancelled error  // why it is to end, or nil
	over      bool
	result    starlark.Value
	err       error
	waiters   []func()
}

var errCancelled = errors.New("the task was cancelled")

// newTask makes a task. What it draws depends on the seed and on its place in
// the tree of spawns, not on what other tasks do when.
func (h *Host) newTask(p *part, path string) *task {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], h.run.Seed())
	t := &task{host: h, part: p, path: path, goOn: make(chan struct{}, 1)}
	t.random = rand.New(rand.NewChaCha8(sha256.Sum256(append(seed[:], path...))))
	s := &h.scheduler
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	return t
}

// ready puts a task that waited in the queue.
func (s *scheduler) ready(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, t)
	s.dispatch()
}

// dispatch lets the next task run, if none does. The lock is held.
func (s *scheduler) dispatch() {
	if s.current == nil && len(s.queue) > 0 {
		s.current, s.queue = s.queue[0], s.queue[1:]
		s.current.goOn <- struct{}{}
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

// wait is the only way in which a task waits. start begins something that calls
// wake when it has ended, from any goroutine, once or more; it may do so at
// once. A task that is cancelled goes on at once, with the reason as the error.
func (t *task) wait(start func(wake func())) error {
	s := &t.host.scheduler
	var once sync.Once
	wake := func() { once.Do(func() { s.ready(t) }) }
	s.mu.Lock()
	if t.cancelled != nil {
		s.mu.Unlock()
		return t.cancelled
	}
	t.wake = wake
	s.mu.Unlock()
	start(wake)
	s.leave(t)
	s.mu.Lock()
	defer s.mu.Unlock()
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

// The clock of the tasks is the one that they sleep by: the run's, but that it
// stands still while a fault is applied, and is put back by as much as a task goes
// on late, because the machine is busy or another task computes. So times that are
// apart stay apart; else what was due meanwhile would come all at once or be
// skipped, and the faults of a script come in another order than in a run that
// nothing held up.

// clock is the time on the clock of the tasks. The lock is held.
func (s *scheduler) clock() time.Duration {
	if s.stops > 0 {
		return s.since - s.stood
	}
	return s.elapsed() - s.stood
}

// now is the time on the clock of the tasks.
func (h *Host) now() time.Duration {
	s := &h.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock()
}

// stop stops the clock of the tasks until goOn was called.
func (s *scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops++; s.stops == 1 {
		s.since = s.elapsed()
		s.rouse() // nobody, until the clock goes on
	}
}

func (s *scheduler) goOn() {
	s.mu.Lock()
	if s.stops--; s.stops == 0 {
		s.stood += s.elapsed() - s.since
	}
	wake := s.rouse()
	s.mu.Unlock()
	wake()
}

// sleeper is a task that waits for a time on the clock of the tasks.
type sleeper struct {
	until, began time.Duration
	wake         func()
	stop         func() bool // that wake is called when the part of the run ends
}

// tolerance is how late a task may go on without the clock being put back.
const tolerance = 10 * time.Millisecond

// sleep waits until the clock of the tasks shows a time. Tasks that sleep go on in
// the order of their times, and of two with the same time the one first that began
// first.
func (t *task) sleep(until time.Duration) error {
	var self *sleeper
	err := t.wait(func(wake func()) { self = t.lie(until, wake) })
	if self == nil {
		return err
	}
	if rose := t.rise(self); err == nil {
		err = rose
	}
	return err
}

// lie begins a sleep, at whose end wake is called.
func (t *task) lie(until time.Duration, wake func()) *sleeper {
	s := &t.host.scheduler
	self := &sleeper{until: until, wake: wake}
	s.mu.Lock()
	self.began = s.clock()
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
	if s.awake == self {
		s.awake = nil
		if late := s.clock() - max(self.until, self.began); late > tolerance {
			s.stood += late
		}
	}
	rouse := s.rouse()
	s.mu.Unlock()
	self.stop()
	rouse()
	return context.Cause(t.part.ctx)
}

// rouse finds who is to be woken now, and sets the timer for who is to be later.
// The lock is held; what it returns is to be called without it.
func (s *scheduler) rouse() (wake func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.awake != nil || s.stops > 0 || len(s.sleepers) == 0 {
		return func() {}
	}
	first := s.sleepers[0]
	left := first.until - s.clock()
	switch {
	case left <= 0:
		s.awake = first
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

// spawn starts a task that calls body when its time has come, 0 for at once,
// for the call that the thread is in. Its error ends the part of the run that
// it belongs to.
func (t *task) spawn(of *starlark.Thread, due time.Duration, body func(*task, *starlark.Thread) (starlark.Value, error)) *Task {
	h, s := t.host, &t.host.scheduler
	t.children++
	child := h.newTask(t.part, t.path+"/"+strconv.Itoa(t.children))
	if of.CallStackDepth() > 1 {
		child.at = of.CallFrame(1).Pos.String()
	}
	thread := h.thread("task "+child.path, child)
	var once sync.Once
	begin := func() { once.Do(func() { s.ready(child) }) }
	s.mu.Lock()
	if child.cancelled == nil {
		child.cancelled = t.cancelled
	}
	child.wake = begin
	if child.cancelled != nil {
		due = 0
	}
	s.mu.Unlock()
	var asleep *sleeper
	if due > 0 {
		asleep = child.lie(due, begin)
	} else {
		begin()
	}
	h.waits.Go(func() {
		<-child.goOn
		s.mu.Lock()
		child.wake = nil
		err := child.cancelled
		child.fired = err == nil
		s.mu.Unlock()
		if asleep != nil {
			if rose := child.rise(asleep); err == nil {
				err = rose
			}
		}
		var result starlark.Value
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
	s.tasks = slices.DeleteFunc(s.tasks, func(x *task) bool { return x == t })
	waiters, idle := t.waiters, s.idle
	if len(s.tasks) > 1 {
		idle = nil
	}
	s.mu.Unlock()
	for _, wake := range waiters {
		wake()
	}
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
	t := h.newTask(p, path)
	s := &h.scheduler
	s.mu.Lock()
	s.current = t
	s.mu.Unlock()
	_, err := contained(func() (starlark.Value, error) { return nil, body(h.thread(path, t)) })

	s.mu.Lock()
	t.over, t.threads = true, nil
	var wakes []func()
	for _, left := range s.tasks {
		if left != t {
			wakes = append(wakes, left.cancel(errors.New("the part of the script that had spawned it has ended")))
		}
	}
	if len(wakes) > 0 {
		s.idle = func() { s.ready(t) }
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
		case p.last:
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
