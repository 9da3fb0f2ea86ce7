package task

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// op is one step of a random program.
type op struct {
	kind string        // "sleep", "apply", "spawn", "join", "cancel", "until"
	d    time.Duration // of a sleep; of a spawn, its delay; of a join or until, its time, or never
	of   int           // which child is joined or cancelled; of a spawn, which program it runs; of an until, how many faults
}

// program is what the tasks do: the first is the group's first task.
type program [][]op

// lengths are those of sleeps: none, below what the machine can tell apart, and longer.
var lengths = []time.Duration{0, 1, time.Microsecond, 37 * time.Microsecond, 400 * time.Microsecond,
	900 * time.Microsecond, time.Millisecond, 1100 * time.Microsecond, 2 * time.Millisecond}

func newProgram(r *rand.Rand) program {
	p := make(program, 1+r.IntN(7))
	for i := range p {
		spawned := 0
		for range 1 + r.IntN(9) {
			d := lengths[r.IntN(len(lengths))]
			switch kind := r.IntN(12); {
			case kind >= 10:
				p[i] = append(p[i], op{kind: "until", d: d, of: r.IntN(8)})
			case kind < 3:
				p[i] = append(p[i], op{kind: "sleep", d: d})
			case kind < 5:
				p[i] = append(p[i], op{kind: "apply"})
			case kind >= 8 && i+1 < len(p):
				p[i] = append(p[i], op{kind: "spawn", d: d * time.Duration(r.IntN(2)), of: i + 1 + r.IntN(len(p)-i-1)})
				spawned++
			case kind == 6 && spawned > 0:
				within := never
				if r.IntN(2) == 0 {
					within = d
				}
				p[i] = append(p[i], op{kind: "join", d: within, of: r.IntN(spawned)})
			case kind == 7 && spawned > 0:
				p[i] = append(p[i], op{kind: "cancel", of: r.IntN(spawned)})
			}
		}
	}
	return p
}

// model says what a program does, from the rules alone: it is a simulation of events in
// their order, without goroutines, locks or a clock.
type model struct {
	p     program
	tasks []*simulated
	now   time.Duration
	count int
	trace []string

	faults  int
	polling []*simulated
}

type simulated struct {
	path      string
	ops       []op
	at        int
	children  []*simulated
	due       time.Duration
	number    int
	inLine    bool
	cancelled bool
	woken     bool // its wait has ended before its time
	polls     bool // it is in an until
	until     time.Duration
	pure      bool // in this turn it has only asked
	over      bool
	first     bool
	joiners   []*simulated
	joined    *simulated // whom it waits for
}

func (m *model) enter(t *simulated, due time.Duration) {
	t.due, t.number, t.inLine = due, m.count, true
	m.count++
}

func (m *model) spawn(path string, ops []op, delay time.Duration) *simulated {
	t := &simulated{path: path, ops: ops}
	m.tasks = append(m.tasks, t)
	m.enter(t, m.now+delay)
	return t
}

func (m *model) run() []string {
	m.spawn("m", m.p[0], 0).first = true
	for {
		var next *simulated
		for _, t := range m.tasks {
			if t.inLine && (next == nil || cmp.Or(cmp.Compare(t.due, next.due), cmp.Compare(t.number, next.number)) < 0) {
				next = t
			}
		}
		if next == nil {
			return m.trace
		}
		m.now, next.inLine, next.woken = next.due, false, false
		m.turn(next)
	}
}

// turn runs a task until it waits.
func (m *model) turn(t *simulated) {
	if t.joined != nil {
		t.joined.joiners = slices.DeleteFunc(t.joined.joiners, func(o *simulated) bool { return o == t })
		t.joined = nil
	}
	m.polling = slices.DeleteFunc(m.polling, func(o *simulated) bool { return o == t })
	t.pure = t.polls
	defer func() {
		if !t.pure || !t.polls {
			m.ask()
		}
		if t.polls {
			m.polling = append(m.polling, t)
		}
	}()
	if t.polls {
		of := t.ops[t.at-1].of
		if !t.cancelled && m.faults < of && t.until > m.now {
			m.enter(t, t.until)
			return
		}
		t.polls, t.pure = false, false
	}
	for !t.cancelled && t.at < len(t.ops) {
		o := t.ops[t.at]
		m.trace = append(m.trace, fmt.Sprintf("%s %d %s %s", t.path, t.at, o.kind, m.now))
		t.at++
		switch o.kind {
		case "sleep":
			m.enter(t, m.now+max(o.d, time.Microsecond))
			return
		case "apply": // it goes on before all others
			m.ask()
			m.faults++
		case "until":
			if m.faults < o.of {
				t.polls, t.until = true, m.now+o.d
				m.enter(t, t.until)
				return
			}
		case "spawn":
			t.children = append(t.children, m.spawn(fmt.Sprintf("%s/%d", t.path, len(t.children)+1), m.p[o.of], o.d))
		case "join":
			other := t.children[o.of]
			if other.over {
				continue
			}
			other.joiners = append(other.joiners, t)
			t.joined = other
			if o.d != never {
				m.enter(t, m.now+o.d)
			}
			return
		case "cancel":
			m.cancel(t.children[o.of])
		}
	}
	if t.first {
		left := slices.DeleteFunc(slices.Clone(m.tasks), func(o *simulated) bool { return o == t || o.over })
		slices.SortFunc(left, func(a, b *simulated) int { return cmp.Compare(a.path, b.path) })
		for _, o := range left {
			m.cancel(o)
		}
		if len(left) > 0 {
			return // it goes on when they are over
		}
	}
	t.over = true
	for _, j := range t.joiners {
		m.wake(j)
	}
	m.trace = append(m.trace, fmt.Sprintf("%s over %s", t.path, m.now))
	alone := slices.DeleteFunc(slices.Clone(m.tasks), func(o *simulated) bool { return o.over })
	if len(alone) == 1 && alone[0].first && alone[0].at == len(alone[0].ops) && !alone[0].inLine && alone[0].joined == nil {
		m.enter(alone[0], m.now)
	}
}

// ask has those that poll ask again.
func (m *model) ask() {
	for _, o := range m.polling {
		m.wake(o)
	}
	m.polling = nil
}

func (m *model) cancel(t *simulated) {
	if t.over || t.cancelled {
		return
	}
	t.cancelled = true
	m.wake(t)
}

// wake ends a task's wait. One whose wait has ended has its place.
func (m *model) wake(t *simulated) {
	if !t.woken {
		t.woken = true
		m.enter(t, m.now)
	}
}

func (p program) String() string {
	var b strings.Builder
	for i, ops := range p {
		fmt.Fprintf(&b, "%d:", i)
		for _, o := range ops {
			fmt.Fprintf(&b, " %s(%s,%d)", o.kind, o.d, o.of)
		}
		b.WriteString("\n")
	}
	return b.String()
}
