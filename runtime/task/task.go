package task

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// Owner is who has made a task.
type Owner interface {
	// Interrupt ends what the task computes, for a reason. It is called with the
	// scheduler's lock held.
	Interrupt(why error)
}

// Task is one task. Its methods are for the task itself, while it runs, except those
// that say otherwise.
type Task struct {
	s        *Scheduler
	group    *Group
	path     string // its place in the tree of spawns
	body     func(*Task)
	goOn     chan struct{} // nil until its first turn
	owner    Owner
	children int
	limits   []*Limit

	// Under the scheduler's lock.
	place   int // in the line; -1 where it stands in none
	due     time.Duration
	rank    rank
	unready bool // what it applies has not been done yet
	number  int64
	waiting int64 // which of its waits it is in; 0 for none
	waits   int64 // so far
	woken   bool  // the wait that it is in, or was in, has ended before its time
	ended   error // why it is to end, or nil
	over    bool
	// onlyAsked says that in this turn it has only come back from a poll so far.
	onlyAsked bool
	joining   []joining
	stuck     bool
	done      chan struct{} // closed when it is over; nil but for a group's first
}

// joining is a wait for the end of another task.
type joining struct {
	task *Task
	wait int64
}

// Path is the task's place in the tree of spawns, such as "main/2/1". It may be called
// from any goroutine.
func (t *Task) Path() string { return t.path }

// Owner is who has made the task. It may be called from any goroutine.
func (t *Task) Owner() Owner { return t.owner }

// Now is the script time, which stands still while the task runs.
func (t *Task) Now() time.Duration {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.s.now
}

// Context is done when the task's group is to end at once. It may be called from any
// goroutine.
func (t *Task) Context() context.Context { return t.group.ctx }

// Err is why the task is to end, or nil. It may be called from any goroutine.
func (t *Task) Err() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.err()
}

// err is Err. The lock is held.
func (t *Task) err() error {
	switch {
	case t.ended != nil:
		return t.ended
	case t.group.ctx.Err() != nil:
		return context.Cause(t.group.ctx)
	}
	return nil
}

// Cancelled is why the task was cancelled, or nil: that its group is to end is no such
// reason. It may be called from any goroutine.
func (t *Task) Cancelled() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.ended
}

// Over reports whether the task has ended. It may be called from any goroutine.
func (t *Task) Over() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.over
}

// Spawn makes a task that is to run body after a delay, 0 for at once. body runs, in
// the task's own turn, however the task ends: it finds out by Err whether it is to do
// anything.
func (t *Task) Spawn(delay time.Duration, owner Owner, body func(*Task)) *Task {
	t.children++
	child := t.s.task(t.group, t.path+"/"+strconv.Itoa(t.children), owner, body)
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	t.group.tasks[child] = true
	if child.ended = t.ended; child.ended != nil {
		delay = 0
	}
	child.waiting = toBegin
	s.enter(child, clock.Later(s.now, delay), sleeps)
	return child
}

func (s *Scheduler) task(g *Group, path string, owner Owner, body func(*Task)) *Task {
	return &Task{s: s, group: g, path: path, body: body, owner: owner, place: -1}
}

// start begins the task's turn. The lock is held.
func (t *Task) start() {
	t.waiting = 0
	if t.goOn != nil {
		t.goOn <- struct{}{}
		return
	}
	t.goOn = make(chan struct{}, 1)
	t.s.running.add()
	go func() {
		defer t.end() // also where body ends the goroutine
		t.body(t)
	}()
}

// end ends the task, and lets the next run.
func (t *Task) end() {
	s := t.s
	s.mu.Lock()
	if t.stuck { // nobody waits for it any more
		s.mu.Unlock()
		return
	}
	t.over = true
	delete(t.group.tasks, t)
	for _, j := range t.joining {
		j.task.wake(j.wait, sleeps)
	}
	t.joining = nil
	if t.done != nil {
		close(t.done)
	}
	if len(t.group.tasks) == 1 && t.group.finishing != nil {
		t.group.finishing.wake(forOthers, sleeps)
	}
	s.leave(t, false)
	s.running.done()
}

// wait is a wait of a task.
type wait struct {
	until   time.Duration // never where it has no time
	applies bool
	polls   bool              // it ends when another task has run
	begin   func(wake func()) // may be nil
}

// wait lets other tasks run until its time has come, or wake has been called. It
// returns whether it was woken. Where the task is to end, the error is the reason.
// What a Limit cuts short has the Limit as its error.
func (t *Task) wait(w wait) (woken bool, err error) {
	s := t.s
	s.mu.Lock()
	if err := t.err(); err != nil {
		s.mu.Unlock()
		return false, err
	}
	var cut *Limit
	if first := t.limit(); first != nil && !w.applies && first.at < w.until {
		cut, w.until = first, first.at
	}
	t.waits++
	this := t.waits
	t.waiting, t.woken = this, false
	switch {
	case w.applies:
		s.enter(t, s.now, applies)
	case w.until != never:
		s.enter(t, w.until, sleeps)
	}
	s.mu.Unlock()
	if w.begin != nil {
		w.begin(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.wake(this, waited)
		})
	}
	s.mu.Lock()
	s.leave(t, w.polls)
	select {
	case <-t.goOn:
	case <-s.abandoned:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.waiting = 0
	if t.onlyAsked = w.polls; w.polls {
		s.polling = slices.DeleteFunc(s.polling, func(p joining) bool { return p.task == t })
	}
	if err := t.err(); err != nil {
		return false, err
	}
	if cut != nil && !t.woken {
		cut.cut = true
		return false, cut
	}
	return t.woken, nil
}

// What a task may wait for beside one of its own waits, which count from 1.
const (
	toBegin   = -1
	forOthers = -2 // of its group, to end
)

// wake ends a wait, if the task is still in it. The lock is held.
func (t *Task) wake(wait int64, r rank) {
	if wait == 0 || t.waiting != wait {
		return
	}
	t.waiting, t.woken = 0, true
	if t.applying() {
		t.unready = false // it has its place
	} else {
		t.s.enter(t, 0, r)
	}
	t.s.goOn()
}

// Sleep waits for a duration: a microsecond at least, so that time passes.
func (t *Task) Sleep(d time.Duration) error {
	return t.SleepUntil(clock.Later(t.Now(), max(d, leastSleep)))
}

// SleepUntil waits until a script time.
func (t *Task) SleepUntil(until time.Duration) error {
	_, err := t.wait(wait{until: until})
	return err
}

// Wait waits for something that is no task's doing, as what a node says. begin begins
// it, and has wake called when it has come: from any goroutine, once or more, perhaps
// at once. The task goes on at the script time at which that was.
func (t *Task) Wait(begin func(wake func())) error {
	_, err := t.wait(wait{until: never, begin: begin})
	return err
}

// Poll waits for a reason to ask once more: that another task has run, that wake was
// called, which begin was given, or that a duration of script time has passed. Who asks,
// and polls again, is no such reason for others; Asked says that it has done more.
func (t *Task) Poll(within time.Duration, begin func(wake func())) error {
	_, err := t.wait(wait{until: clock.Later(t.Now(), within), polls: true, begin: begin})
	return err
}

// Asked says that the task has what it has polled for.
func (t *Task) Asked() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.onlyAsked = false
}

// Apply applies a fault. It takes no script time, and no other task goes on meanwhile,
// except one that waited for what is no task's doing. plan is called at once, and
// returns what applies it, which gets a context that is done when the task's group is
// to end at once. A task that is cancelled meanwhile goes on when it is applied.
func (t *Task) Apply(plan func() (func(context.Context) error, error)) error {
	if err := t.Err(); err != nil {
		return err
	}
	do, err := plan()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	_, ended := t.wait(wait{until: never, applies: true, begin: func(wake func()) {
		t.s.Go(func() {
			result <- do(t.group.ctx)
			wake()
		})
	}})
	select {
	case err := <-result:
		if ended != nil {
			return ended
		}
		if l := (*Limit)(nil); errors.As(err, &l) {
			l.cut = true
		}
		return err
	default:
		if ended == nil { // its group's end came first
			ended = context.Cause(t.group.ctx)
		}
		return ended
	}
}

// ErrExited is the error of what was done by a goroutine that ended before it returned.
var ErrExited = errors.New("its goroutine was ended by runtime.Goexit, as a failing test does")

// While waits while something is done, that a node or a person may make last. Its
// context is done when the task is to end; While does not wait for it then, so that
// what do writes may only be read where While returned no error.
func (t *Task) While(do func(context.Context) error) error { return t.while(0, do) }

// Briefly is While for what is done in no time, unless somebody does not take what they
// are given. It begins without letting other tasks run, and takes no script time,
// unless it lasts for longer than 100 ms.
func (t *Task) Briefly(do func(context.Context) error) error { return t.while(brief, do) }

const brief = 100 * time.Millisecond

func (t *Task) while(alone time.Duration, do func(context.Context) error) error {
	if err := t.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(t.group.ctx)
	defer cancel(nil)
	done := make(chan struct{})
	result := ErrExited
	t.s.Go(func() {
		defer close(done)
		result = do(ctx)
	})
	if alone > 0 {
		timer := time.NewTimer(alone)
		defer timer.Stop()
		select {
		case <-done:
			return unlessEnded(ctx, result)
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	_, err := t.wait(wait{until: never, begin: func(wake func()) {
		t.s.Go(func() {
			select {
			case <-done:
			case <-ctx.Done():
			}
			wake()
		})
	}})
	if err != nil {
		cancel(err)
		return err
	}
	<-done
	return unlessEnded(ctx, result)
}

// unlessEnded is the error of what was done. What was told to end may say only that.
func unlessEnded(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Join waits for the end of another task, at most for a duration of script time. It
// reports whether the other has ended.
func (t *Task) Join(other *Task, within time.Duration) (bool, error) {
	if other == t {
		return false, errors.New("a task cannot wait for itself")
	}
	s := t.s
	s.mu.Lock()
	over, until := other.over, clock.Later(s.now, within)
	s.mu.Unlock()
	if over {
		return true, t.Err()
	}
	_, err := t.wait(wait{until: until, begin: func(func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		other.joining = append(slices.DeleteFunc(other.joining, func(j joining) bool { return j.task == t }), joining{t, t.waiting})
	}})
	if err != nil {
		return false, err
	}
	return other.Over(), nil
}

// Cancel ends another task, which finds out where it waits or between two of its
// instructions. One that applies a fault finds out when that is done. It may be called
// from any goroutine.
func (t *Task) Cancel(why error) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	t.cancel(why)
}

// cancel is Cancel. The lock is held.
func (t *Task) cancel(why error) {
	if t.over || t.ended != nil {
		return
	}
	t.ended = why
	t.owner.Interrupt(why)
	if !t.applying() {
		t.wake(t.waiting, sleeps)
	}
}

func (t *Task) applying() bool { return t.rank == applies && t.place >= 0 }

// Limit is a script time by which a task's waits must have ended.
type Limit struct {
	at  time.Duration
	cut bool
}

func (l *Limit) Error() string { return "the time of what it is part of has passed" }

// Limit bounds the task's waits from now on, until lift is called: one that would last
// longer ends then, with the Limit as its error. Of several the first that comes does.
func (t *Task) Limit(within time.Duration) (l *Limit, lift func()) {
	l = &Limit{at: clock.Later(t.Now(), within)}
	t.limits = append(t.limits, l)
	return l, func() { t.limits = slices.DeleteFunc(t.limits, func(o *Limit) bool { return o == l }) }
}

// limit is the limit that comes first, the outer one of two at the same time; nil where
// there is none.
func (t *Task) limit() (first *Limit) {
	for _, l := range t.limits {
		if first == nil || l.at < first.at {
			first = l
		}
	}
	return first
}

// Left is the limit that comes first, and the script time until it does; nil where there
// is none. It is for Apply, which ends at no limit: what is to be applied, and has not
// begun, may end with the limit as its error.
func (t *Task) Left() (first *Limit, left time.Duration) {
	if first = t.limit(); first != nil {
		left = max(0, first.at-t.Now())
	}
	return first, left
}

// Cut is the outermost of the task's limits that has cut a wait short, or nil.
func (t *Task) Cut() *Limit {
	for _, l := range t.limits {
		if l.cut {
			return l
		}
	}
	return nil
}
