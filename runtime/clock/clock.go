// Package clock is the one clock of a run, and the one place where the time of a
// run is mapped to that of the machine. Deadlines, delays, time stamps and what
// scripts sleep read it.
//
// The time of a run is that of the machine since the run began, less what it was
// suspended: a process that is stopped, as by ctrl-Z, or a machine that sleeps, makes
// no deadline pass. The clock learns of that as it beats: time that no beat has
// confirmed does not count.
package clock

import (
	"container/heap"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// beatEvery is how often the clock confirms that its process runs.
	beatEvery = 100 * time.Millisecond
	// unconfirmed is how far the clock goes on without a beat: what a suspension
	// takes of the run's time at most.
	unconfirmed = 300 * time.Millisecond
	// patience is how long the clock waits for a function that it has called, and
	// littlePatience where it has gone on without one that has not returned since.
	patience       = time.Second
	littlePatience = 10 * time.Millisecond
)

// Clock is the clock of a run. Its methods may be called from any goroutine.
type Clock struct {
	began     time.Time
	monotonic int64 // what Monotonic read then; 0 where there is none
	pulse     atomic.Pointer[pulse]
	news      chan struct{} // the first timer is another
	quit      chan struct{}
	ended     chan struct{}
	wake      *time.Timer // of the clock's own goroutine

	mu          sync.Mutex
	left        map[<-chan struct{}]func() // functions that it has gone on without, by what is closed when they return
	timers      timers
	count       int64 // of timers so far
	suspensions []suspension
}

// pulse is what a beat has found.
type pulse struct {
	seen time.Duration // the machine's time since the clock began, when it did
	lost time.Duration // of that, to suspensions
}

// suspension is the machine's time that passed at an instant of the run.
type suspension struct{ at, took time.Duration }

// New starts a clock at 0. Close must be called.
func New() *Clock {
	c := unwound()
	go c.run()
	return c
}

// unwound is a clock that does not beat yet.
func unwound() *Clock {
	began, monotonic := readTogether()
	c := &Clock{began: began, monotonic: monotonic, news: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		wake: time.NewTimer(beatEvery), left: map[<-chan struct{}]func(){}}
	c.pulse.Store(&pulse{})
	return c
}

// Close stops the clock's timers, none of which fires after it, and waits for the function
// that is being called, for a second at most. The time can still be read.
func (c *Clock) Close() {
	close(c.quit)
	<-c.ended
}

// Left are the functions that the clock has gone on without, as they have not returned.
func (c *Clock) Left() []func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.left))
}

// Now is the time since the clock was started. It never goes back.
func (c *Clock) Now() time.Duration {
	p := c.pulse.Load() // before the machine's time: an older beat only holds the clock back
	return min(time.Since(c.began), p.seen+unconfirmed) - p.lost
}

// Time is the machine's time at an instant of the run.
func (c *Clock) Time(t time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	machine := t
	for _, s := range c.suspensions {
		if s.at < t {
			machine += s.took
		}
	}
	return c.began.Add(machine)
}

// At is the instant of the run at which Monotonic read so many nanoseconds, which may have
// been in another process: not after now. It is the same whenever it is asked for, so that
// readings keep their order. ok is false where this machine has no such clock.
func (c *Clock) At(monotonic int64) (at time.Duration, ok bool) {
	if c.monotonic == 0 {
		return 0, false
	}
	since := time.Duration(monotonic - c.monotonic)
	c.mu.Lock()
	defer c.mu.Unlock()
	var lost time.Duration
	for _, s := range c.suspensions {
		if since <= s.at+lost {
			break
		}
		lost += min(s.took, since-s.at-lost) // one during a suspension was at its instant
	}
	return min(since-lost, c.Now()), true
}

// readTogether reads Monotonic and the time at one moment, as nearly as it can: of a few
// tries the one that took the least time counts.
func readTogether() (now time.Time, monotonic int64) {
	const tries = 16
	shortest := int64(math.MaxInt64)
	for range tries {
		before := Monotonic()
		t := time.Now()
		if took := Monotonic() - before; took < shortest {
			now, monotonic, shortest = t, before, took
		}
	}
	return now, monotonic
}

// Timer is a call that is to be made.
type Timer struct {
	c      *Clock
	due    time.Duration
	number int64 // of two that are due at the same time the one that was set first comes first
	call   func()
	index  int // in the clock's timers; -1 where it is not set
}

// AfterFunc has a function called once, after a duration of the run's time. Functions
// are called one at a time, in the order in which they are due. After a second the clock
// goes on without one that has not returned: it is to start what may wait.
func (c *Clock) AfterFunc(d time.Duration, call func()) *Timer {
	t := c.Timer(call)
	t.Reset(d)
	return t
}

// After returns a channel that is closed after a duration of the run's time, unless stop
// is called before.
func (c *Clock) After(d time.Duration) (passed <-chan struct{}, stop func() bool) {
	ch := make(chan struct{})
	return ch, c.AfterFunc(d, func() { close(ch) }).Stop
}

// Timer makes a timer that is not set yet. It calls its function as AfterFunc does.
func (c *Clock) Timer(call func()) *Timer { return &Timer{c: c, call: call, index: -1} }

// Reset has the function called after another duration from now, whether or not it
// has been called.
func (t *Timer) Reset(d time.Duration) { t.Set(Later(t.c.Now(), d)) }

// Later is the time a while after another, or the last there is.
func Later(t, d time.Duration) time.Duration {
	if d > math.MaxInt64-t {
		return math.MaxInt64
	}
	return t + max(d, 0)
}

// Set has the function called at an instant of the run, or at once where that has
// passed.
func (t *Timer) Set(due time.Duration) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t.due, t.number = due, c.count
	c.count++
	if t.index < 0 {
		heap.Push(&c.timers, t)
	} else {
		heap.Fix(&c.timers, t.index)
	}
	if t.index == 0 {
		select {
		case c.news <- struct{}{}:
		default:
		}
	}
}

// Stop has the function not called, and reports whether it would have been. One that
// is being called is not waited for.
func (t *Timer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.c.timers, t.index)
	return true
}

// Left is how long it is until the timer's function is called, less than 0 where that is
// late; false where it is not to be called.
func (t *Timer) Left() (left time.Duration, ok bool) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return t.due - t.c.Now(), t.index >= 0
}

func (c *Clock) run() {
	defer close(c.ended)
	defer c.wake.Stop()
	for {
		c.beat()
		c.wake.Reset(c.fire())
		select {
		case <-c.wake.C:
		case <-c.news:
		case <-c.quit:
			// What has ended waits for nothing, and is only read.
			c.pulse.Store(&pulse{seen: 1 << 62, lost: c.pulse.Load().lost})
			return
		}
	}
}

// beat confirms that the time until now was the run's, but for what is beyond
// unconfirmed: the process did not run then.
func (c *Clock) beat() {
	last, now := c.pulse.Load(), time.Since(c.began)
	took := max(0, now-last.seen-unconfirmed)
	if took > 0 {
		c.mu.Lock()
		c.suspensions = append(c.suspensions, suspension{at: now - took - last.lost, took: took})
		c.mu.Unlock()
	}
	c.pulse.Store(&pulse{seen: now, lost: last.lost + took})
}

// fire calls what is due, and returns how long it is until something is, or until the
// next beat.
func (c *Clock) fire() time.Duration {
	for {
		select {
		case <-c.quit:
			return beatEvery
		default:
		}
		c.mu.Lock()
		if len(c.timers) == 0 {
			c.mu.Unlock()
			return beatEvery
		}
		first := c.timers[0]
		if left := first.due - c.Now(); left > 0 {
			c.mu.Unlock()
			return min(left, beatEvery)
		}
		heap.Pop(&c.timers)
		call := first.call
		c.mu.Unlock()
		c.call(call)
	}
}

// call calls a function, and beats until that has returned, or has taken too long.
func (c *Clock) call(f func()) {
	returned := make(chan struct{})
	go func() {
		defer close(returned) // also where f ends the goroutine
		f()
	}()
	c.mu.Lock()
	wait := patience
	if len(c.left) > 0 {
		wait = littlePatience
	}
	c.mu.Unlock()
	for step := min(wait, beatEvery); wait > 0; wait -= step {
		c.wake.Reset(step)
		select {
		case <-returned:
			c.beat()
			return
		case <-c.wake.C:
			c.beat()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[returned] = f
	go func() {
		<-returned
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.left, returned)
	}()
}

// timers is a heap, by the time at which they are due.
type timers []*Timer

func (h timers) Len() int { return len(h) }
func (h timers) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].number < h[j].number
}
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for the heap.
func (h *timers) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for the heap.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	t.index = -1
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}
