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
	delay    time.Duration // by which all sleeps were put off so far
	idle     func()        // called when only one of the tasks is left, or nil
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

// sleeper is a task that waits for a time on the run's clock.
type sleeper struct {
	until time.Duration
	began time.Duration
	delay time.Duration // the scheduler's, when it began
	wake  func()
	watch *runtime.Watch
}

// sleep waits until the run's clock shows a time, and returns that time. Tasks
// that sleep go on in the order of their times, and of two with the same time the
// one first that began first: the timers themselves fire in any order when they
// are close.
//
// A task that goes on late, as the machine is busy or another task computes,
// puts off all that sleep by as much, so that times which were apart stay so:
// else what was due meanwhile would come all at once, and the faults of a script
// in another order than in a run that nothing held up. The time that is returned
// is the one that it was put off to.
func (t *task) sleep(until time.Duration) (time.Duration, error) {
	for {
		var self *sleeper
		err := t.wait(func(wake func()) { self = t.lie(until, wake) })
		if self == nil {
			return until, err
		}
		due, early, rose := t.rise(self)
		if err == nil {
			err = rose
		}
		if err != nil || !early {
			return due, err
		}
		until = due
	}
}

// lie begins a sleep, at whose end wake is called.
func (t *task) lie(until time.Duration, wake func()) *sleeper {
	run, s := t.host.run, &t.host.scheduler
	self := &sleeper{until: until, began: run.Elapsed(), wake: wake}
	s.mu.Lock()
	self.delay = s.delay
	at := len(s.sleepers)
	for at > 0 && s.sleepers[at-1].until > until {
		at--
	}
	s.sleepers = slices.Insert(s.sleepers, at, self)
	s.mu.Unlock()
	self.watch = run.Watch(runtime.Elapsed(until-self.began), func() { s.due(self) })
	return self
}

// rise ends a sleep, and tells until when it was to last, as it has been put off.
// It is early where that is to come, or another's turn is before it: then the task
// is to sleep again. The error tells that the run's work has ended meanwhile.
func (t *task) rise(self *sleeper) (due time.Duration, early bool, err error) {
	s := &t.host.scheduler
	now := t.host.run.Elapsed()
	s.mu.Lock()
	s.sleepers = slices.DeleteFunc(s.sleepers, func(x *sleeper) bool { return x == self })
	off := s.delay - self.delay
	due = later(self.until, off)
	if late := now - later(max(self.until, self.began), off); late > tolerance {
		s.delay += late
		due += late
		for _, x := range s.sleepers { // so that they stay in their order
			x.until, x.began, x.delay = later(x.until, late), later(x.began, late), s.delay
		}
	}
	early = due > now || len(s.sleepers) > 0 && s.sleepers[0].until < due
	s.mu.Unlock()
	self.watch.Stop()
	if ctx := t.part.ctx; ctx.Err() != nil {
		return due, early, context.Cause(ctx)
	}
	if err := self.watch.Err(); !errors.Is(err, context.Canceled) { // that one's timer was late
		return due, early, err
	}
	return due, early, nil
}

// tolerance is how late a task may go on without putting the others off.
const tolerance = 10 * time.Millisecond

// due wakes a sleeper, and before it those whose time has come too. They stay in
// the list until they rise, so that whoever does sees whose turn is before it.
func (s *scheduler) due(last *sleeper) {
	s.mu.Lock()
	n := slices.Index(s.sleepers, last) + 1
	awake := slices.Clone(s.sleepers[:n])
	s.mu.Unlock()
	for _, x := range awake {
		x.wake()
	}
}

// later is the time on the run's clock a while after another.
func later(from, d time.Duration) time.Duration {
	if from > math.MaxInt64-d {
		return math.MaxInt64
	}
	return from + d
}

// spawn starts a task that calls body when its time has come, 0 for at once,
// for the call that the thread is in. body gets the time, as it has been put off.
// Its error ends the part of the run that it belongs to.
func (t *task) spawn(of *starlark.Thread, due time.Duration, body func(*task, *starlark.Thread, time.Duration) (starlark.Value, error)) *Task {
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
		s.mu.Unlock()
		if asleep != nil {
			var early bool
			var rose error
			if due, early, rose = child.rise(asleep); err == nil {
				err = rose
			}
			if err == nil && early {
				due, err = child.sleep(due)
			}
		}
		var result starlark.Value
		if err == nil {
			s.mu.Lock()
			child.fired = true
			s.mu.Unlock()
			result, err = contained(func() (starlark.Value, error) { return body(child, thread, due) })
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
