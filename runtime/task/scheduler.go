// Package task lets the tasks of a script take turns: exactly one runs at a time, and
// it runs until it waits. The package knows nothing of scripts.
//
// Tasks have a time of their own, and one idea makes it: the time of a task is the sum
// of what it has slept, however late the machine wakes it and however long it
// computes. So what tasks do in which order depends on their sleeps alone, as long as
// they wait only for time, for each other and for the faults that they apply.
//
//   - Every task that is to go on by itself stands in one line, ordered by the time at
//     which it does: one that sleeps, one that was spawned, one whose wait has ended.
//     Of two at the same time, the one that came first goes first. One that applies a
//     fault stays the first of its time: nobody goes on before the fault is applied.
//   - The first in the line goes on when its time has come. Script time follows the
//     run's clock while all tasks wait. It stands still while one runs, and it never
//     passes the first in the line.
//
// A task that polls asks again when another task has run, at the same script time: what
// that has changed is seen at once.
//
// A task that waits for something else, as for what a node says, stands in no line. It
// goes on at the script time at which that came, also while a fault is being applied.
package task

import (
	"container/heap"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

const (
	// never is a time that does not come.
	never = time.Duration(math.MaxInt64)
	// leastSleep is what a sleep takes at least, so that time passes for others while
	// one sleeps for no time again and again.
	leastSleep = time.Microsecond
	// spin is how long the machine is kept busy rather than left, as it may come back
	// a millisecond later.
	spin = 50 * time.Microsecond
)

// Scheduler lets tasks take turns. Its methods may be called from any goroutine.
type Scheduler struct {
	clock *clock.Clock
	timer *clock.Timer // for the first in the line

	mu      sync.Mutex
	line    line
	count   int64         // of what has stood in the line so far
	current *Task         // the one that runs
	polling []joining     // the waits that ask again when another task has run
	turns   int64         // that tasks have had
	now     time.Duration // script time, when last looked at
	seen    time.Duration // the clock's, then
	// reminded is the clock's time for which the timer is set; never where it is not.
	reminded time.Duration
	dead     bool // a task has not come back: nobody runs any more

	running   waits
	abandoned chan struct{} // closed when it is dead
}

// New makes a scheduler whose script time begins with that of the run.
func New(c *clock.Clock) *Scheduler {
	s := &Scheduler{clock: c, reminded: never, abandoned: make(chan struct{})}
	s.timer = c.Timer(s.comes)
	s.seen = c.Now()
	s.now = s.seen
	return s
}

// Go runs a function that the scheduler's owner waits for in Close.
func (s *Scheduler) Go(do func()) {
	s.running.add()
	go func() {
		defer s.running.done()
		do()
	}()
}

// Close waits for every goroutine of the scheduler, at most for a while: what was
// given to Wait or Briefly may forget to end. It reports whether all have ended. All
// groups must have ended.
func (s *Scheduler) Close(within time.Duration) bool {
	s.timer.Stop()
	return s.running.wait(within)
}

// waits counts goroutines. Unlike a WaitGroup it can be waited for in time.
type waits struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there are none, where somebody waits
}

func (w *waits) add() {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
}

func (w *waits) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n--; w.n == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}

func (w *waits) wait(within time.Duration) bool {
	w.mu.Lock()
	if w.n == 0 {
		w.mu.Unlock()
		return true
	}
	none := make(chan struct{})
	w.none = none
	w.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-none:
		return true
	case <-timer.C:
		return false
	}
}

// look brings script time up to now: it has followed the clock since it was last
// looked at, up to the first in the line, unless a task runs. The lock is held; every
// change of the line begins with it.
func (s *Scheduler) look() {
	seen := s.clock.Now()
	if s.current == nil {
		s.now += seen - s.seen
		if len(s.line) > 0 {
			s.now = min(s.now, s.line[0].due)
		}
	}
	s.seen = seen
}

// rank orders those in the line that go on at the same time.
type rank int8

const (
	waited  rank = iota // for what is no task's doing
	applies             // a fault
	sleeps              // or begins, or waited for another task
)

// enter has a task stand in the line, from wherever it was. The lock is held.
func (s *Scheduler) enter(t *Task, due time.Duration, r rank) {
	s.look()
	t.due, t.rank, t.unready, t.number = max(due, s.now), r, r == applies, s.count
	s.count++
	if t.place < 0 {
		heap.Push(&s.line, t)
	} else {
		heap.Fix(&s.line, t.place)
	}
}

// next lets the first in the line go on, if its time has come and nobody runs. Else it
// returns how long that takes, never where it is not only a matter of time. The lock is
// held.
func (s *Scheduler) next() (left time.Duration) {
	if s.current != nil || len(s.line) == 0 || s.dead {
		return never
	}
	s.look()
	first := s.line[0]
	if first.unready {
		return never
	}
	if left := first.due - s.now; left > 0 {
		return left
	}
	heap.Pop(&s.line)
	s.current = first
	s.turns++
	first.start()
	return never
}

// goOn lets the first in the line go on, now or when its time has come. The lock is
// held.
func (s *Scheduler) goOn() { s.remind(s.next()) }

// remind has goOn called in a while. The lock is held.
func (s *Scheduler) remind(left time.Duration) {
	if at := clock.Later(s.seen, left); at < s.reminded {
		s.reminded = at
		s.timer.Set(at)
	}
}

// comes is called when the time of the first in the line may have come.
func (s *Scheduler) comes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reminded = never
	s.goOn()
}

// leave ends a task's turn, in a poll if it polls. The lock is held, and let go.
func (s *Scheduler) leave(t *Task, polls bool) {
	s.look()
	if polling := s.polling; !t.onlyAsked || !polls {
		s.polling = nil
		for _, p := range polling {
			p.task.wake(p.wait, sleeps)
		}
	}
	if polls && t.waiting != 0 {
		s.polling = append(s.polling, joining{t, t.waiting})
	}
	s.current = nil
	left := s.next()
	for left < spin {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
		left = s.next()
	}
	s.remind(left)
	s.mu.Unlock()
}

// line is a heap of tasks, by the times at which they go on.
type line []*Task

func (l line) Len() int { return len(l) }
func (l line) Less(i, j int) bool {
	a, b := l[i], l[j]
	switch {
	case a.due != b.due:
		return a.due < b.due
	case a.rank != b.rank:
		return a.rank < b.rank
	}
	return a.number < b.number
}
func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push is for the heap.
func (l *line) Push(x any) {
	t := x.(*Task)
	t.place = len(*l)
	*l = append(*l, t)
}

// Pop is for the heap.
func (l *line) Pop() any {
	last := len(*l) - 1
	t := (*l)[last]
	t.place = -1
	(*l)[last] = nil
	*l = (*l)[:last]
	return t
}
