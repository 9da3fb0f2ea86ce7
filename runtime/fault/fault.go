// Package fault is the life of a fault: planned → applied → touched → healed, or
// planned → abandoned, each an event, and each closed however the run ends. It
// does no fault itself: a Doer does.
//
// A fault is planned, which chooses its targets and logs the intent, and then
// applied by the Step that planning returns. So whoever plans under the run's
// lock decides the order, however long what was planned before takes. Steps that
// change what stays in force take turns, in the order in which they were planned.
package fault

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
)

// Doer does one fault. Its methods are called without a lock, one at a time.
type Doer interface {
	// Apply does the fault, and returns when it acts. Where it returns an error,
	// Heal is called for a fault that stays in force.
	Apply(ctx context.Context) (Reach, error)
	// Heal undoes it for the nodes, all that are given at the same time. Nodes
	// whose process has ended are no error.
	Heal(nodes []string) error
	// Touched returns what it has done. It is final after Heal.
	Touched() event.Touched
}

// Seer is a Doer that may know, once it is healed, that it has not seen all of what it
// touched.
type Seer interface{ Unseen() bool }

// Reach is whom a fault reached.
type Reach struct {
	To, Dead []string // nodes that lived, and those that did not
	Unseen   bool     // what it touches may not be counted on this machine
}

// Plan says what is planned.
type Plan struct {
	What     string // "kill", "net.delay", …
	Detail   string
	Nodes    []string
	Links    [][2]string // where it acts on links
	Harmless bool        // see event.FaultPlanned
	Lasting  bool        // it stays in force until it is healed
	Turn     bool        // it is done in its turn; so is what is Lasting
	Where    string      // who planned it, for the log: file:line:col of a script
}

// ErrGivenUp is in the cause of a context by which a script gives a step up. A
// step that another cause ends was cut off by the end of the run.
var ErrGivenUp = errors.New("the task was cancelled")

// Book has the faults of a run. Its methods that need the journal's lock held say
// so; the others take it.
type Book struct {
	j         *journal.Journal
	turns     []*Step // that are planned and not over, in their order
	open      []*Step // that are not over, those without a turn included
	lives     []*Life // in force, in the order in which they were planned
	schedules []*Schedule
}

// NewBook makes the book of a run's faults.
func NewBook(j *journal.Journal) *Book { return &Book{j: j} }

// Life is one fault. ID and What are as in the log.
type Life struct {
	ID   int64
	What string

	book    *Book
	plan    Plan
	doer    Doer
	nodes   []string // that it is in force on
	applied bool
	touched bool // what it touched is in the log
}

// Plan logs the intent of a fault. The step that it returns must be done or given up, as
// those after it may wait for it; the end of the run's work gives up what is left. The
// lock is held.
func (b *Book) Plan(p Plan, d Doer) *Step {
	l := &Life{ID: b.j.NewID(), What: p.What, book: b, plan: p, doer: d}
	b.j.Append("", event.FaultPlanned{ID: l.ID, What: p.What, Nodes: p.Nodes, Detail: p.Detail, Links: p.Links,
		Lasting: p.Lasting, Harmless: p.Harmless, Where: p.Where})
	if p.Lasting {
		l.nodes = slices.Clone(p.Nodes)
		b.lives = append(b.lives, l)
	}
	apply := b.step(p.Lasting || p.Turn, l.do, l.abandon)
	apply.life = l
	return apply
}

// Nodes are the names of the nodes on which the fault is in force.
func (l *Life) Nodes() []string {
	l.book.j.Lock()
	defer l.book.j.Unlock()
	return slices.Clone(l.nodes)
}

// Harmless reports whether it only undoes, asks or tells: see event.FaultPlanned.
func (l *Life) Harmless() bool { return l.plan.Harmless }

// Touched returns what the fault has touched so far.
func (l *Life) Touched() event.Touched { return l.doer.Touched() }

// InForce returns what does the faults of a name that are in force on a node, in
// the order in which they were planned. The lock is held.
func (b *Book) InForce(what, node string) (doers []Doer) {
	for _, l := range b.lives {
		if l.What == what && slices.Contains(l.nodes, node) {
			doers = append(doers, l.doer)
		}
	}
	return doers
}

// do applies the fault.
func (l *Life) do(ctx context.Context) error {
	began := l.book.j.Elapsed()
	reach, err := l.doer.Apply(ctx)
	if err != nil {
		if l.plan.Lasting {
			err = errors.Join(err, l.doer.Heal(l.plan.Nodes))
		}
		l.book.j.Lock()
		defer l.book.j.Unlock()
		l.logTouched(l.doer.Touched())
		l.abandon(ctx, err)
		return err
	}
	l.book.j.Lock()
	defer l.book.j.Unlock()
	l.applied = true
	l.book.j.Append("", event.FaultApplied{ID: l.ID, TookS: (l.book.j.Elapsed() - began).Truncate(time.Microsecond).Seconds(),
		To: reach.To, Dead: reach.Dead, Unseen: reach.Unseen})
	if !l.plan.Lasting || !l.OnLinks() {
		l.logTouched(l.doer.Touched())
	}
	if l.plan.Lasting {
		l.nodes = slices.DeleteFunc(l.nodes, func(n string) bool { return slices.Contains(reach.Dead, n) })
		if len(l.nodes) == 0 && !l.OnLinks() {
			l.book.remove(l)
		}
	}
	return nil
}

// Touch logs what the fault has touched after it was applied, where that shows only
// then. The lock is held.
func (l *Life) Touch(t event.Touched) { l.logTouched(t) }

// logTouched logs what the fault touched, once. The lock is held.
func (l *Life) logTouched(t event.Touched) {
	if l.touched || t == (event.Touched{}) {
		return
	}
	l.touched = true
	l.book.j.Append("", event.FaultTouched{ID: l.ID, Touched: t})
}

// abandon logs that the fault was not applied. The lock is held.
func (l *Life) abandon(ctx context.Context, why error) {
	by := "script"
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ErrGivenUp) {
		by = "end"
	}
	l.nodes = nil
	l.book.remove(l)
	reason, _, _ := strings.Cut(why.Error(), "\n") // what follows is output of nodes
	l.book.j.Append("", event.Abandoned{ID: l.ID, By: by, Reason: reason})
}

func (b *Book) remove(l *Life) {
	b.lives = slices.DeleteFunc(b.lives, func(o *Life) bool { return o == l })
}

// Heal plans to undo the fault. To heal it once more does nothing.
func (l *Life) Heal() *Step {
	l.book.j.Lock()
	defer l.book.j.Unlock()
	return l.book.Heal(func(o *Life, _ string) bool { return o == l })
}

// Heal plans to undo faults for the nodes that which chooses. They are not in
// force any more for whoever plans something after that. The lock is held.
func (b *Book) Heal(which func(l *Life, node string) bool) *Step {
	type healed struct {
		life  *Life
		nodes []string
	}
	var all []healed
	for _, l := range slices.Backward(slices.Clone(b.lives)) {
		h := healed{life: l}
		l.nodes = slices.DeleteFunc(l.nodes, func(node string) bool {
			if !which(l, node) {
				return false
			}
			h.nodes = append(h.nodes, node)
			return true
		})
		if len(h.nodes) > 0 {
			all = append(all, h)
		}
		if len(l.nodes) == 0 {
			b.remove(l)
		}
	}
	return b.step(true, func(context.Context) error {
		var errs []error
		for _, h := range all {
			errs = append(errs, h.life.heal(h.nodes))
		}
		return errors.Join(errs...)
	}, func(context.Context, error) { // they are in force again
		for _, h := range slices.Backward(all) {
			if !slices.Contains(b.lives, h.life) {
				b.lives = append(b.lives, h.life)
			}
			h.life.nodes = append(h.life.nodes, h.nodes...)
		}
		slices.SortStableFunc(b.lives, func(a, b *Life) int { return cmp.Compare(a.ID, b.ID) })
	})
}

// heal undoes the fault for nodes.
func (l *Life) heal(nodes []string) error {
	l.book.j.Lock()
	applied := l.applied
	l.book.j.Unlock()
	if !applied { // it was given up
		return nil
	}
	err := l.doer.Heal(nodes)
	l.book.j.Lock()
	defer l.book.j.Unlock()
	l.logTouched(l.doer.Touched())
	if err == nil {
		seer, ok := l.doer.(Seer)
		l.book.j.Append("", event.FaultHealed{ID: l.ID, Nodes: nodes, Unseen: ok && seer.Unseen()})
	}
	return err
}

// Exited takes a node off the faults that are in force on its process, as that
// has ended. The lock is held.
func (b *Book) Exited(node string) {
	for _, l := range slices.Clone(b.lives) {
		if !l.applied || l.OnLinks() || !slices.Contains(l.nodes, node) {
			continue
		}
		if l.nodes = slices.DeleteFunc(l.nodes, func(n string) bool { return n == node }); len(l.nodes) == 0 {
			b.remove(l)
		}
		b.j.Append("", event.FaultHealed{ID: l.ID, Nodes: []string{node}})
	}
}

// End closes all lives: what was not begun is given up, what is being done is
// waited for until ctx is done, and what is in force is healed. Nothing may be
// planned after it. It returns what could not be undone.
func (b *Book) End(ctx context.Context, why error) error {
	b.j.Lock()
	b.GiveUp(why)
	b.CloseSchedules(why)
	begun := slices.Clone(b.open)
	heal := b.Heal(func(*Life, string) bool { return true })
	b.j.Unlock()
	err := heal.Do(ctx)
	for _, s := range begun {
		select {
		case <-s.ended:
		case <-ctx.Done():
		}
	}
	return err
}

// GiveUp gives up, as what they are part of has ended, all steps that were not begun: also
// those that nobody does. The lock is held.
func (b *Book) GiveUp(why error) {
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	for _, s := range slices.Clone(b.open) {
		if !s.begun {
			s.giveUp(ended, why)
		}
	}
}

// CloseSchedules closes what was scheduled and has not fired. The lock is held.
func (b *Book) CloseSchedules(why error) {
	for _, s := range b.schedules {
		s.close("end", why.Error())
	}
}

// OnLinks reports whether the fault acts on links.
func (l *Life) OnLinks() bool { return len(l.plan.Links) > 0 }
