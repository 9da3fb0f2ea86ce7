// Package linearization decides whether a history is linearizable: whether each
// operation can have been done at one instant between its invocation and its
// completion, so that all of them, in the order of these instants, are what one
// process would have seen that had the system for itself.
//
// Registers of which each value was written once are decided by zones, in n·log n.
// All else is a search that can take any time and any memory, by porcupine, key by
// key. It has a limit of both.
package linearization

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// The limits of a check that names none.
const (
	DefaultTimeLimit   = time.Minute
	DefaultMemoryLimit = 1 << 30 // bytes
)

// Options are what a check has to know.
type Options struct {
	// Model is what the system is to behave like. Each key is one of it.
	//
	//	register      read, write
	//	cas-register  read, write, cas of [expected, new]
	//	queue         enqueue, dequeue: first in, first out
	//	stack         push, pop
	//	mutex         acquire, release
	//	set           add, remove, contains, and read, of a list
	//
	// A read, dequeue and pop are invoked with None and return what they got: None is
	// nothing. A cas, acquire or release that returned false was refused, and contains
	// returns true or false.
	Model string
	// Initial is a register's value before the first write.
	Initial history.Value
	// TimeLimit is for the whole check; 0 is DefaultTimeLimit.
	TimeLimit time.Duration
	// Within makes a context that is done, for a cause, when a time has passed by the clock
	// that TimeLimit is of; nil is context.WithTimeoutCause, whose clock goes on while this
	// process is stopped.
	Within func(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc)
	// MemoryLimit is how many bytes a search may take, beside the history; 0 is
	// DefaultMemoryLimit.
	MemoryLimit int64
}

// Finding is the result of a check, with what a picture of it needs.
type Finding struct {
	history.Result
	options Options
	picture []call // of the first key that failed
	machine *machine
}

// mostTold is how many breaches of a rule are told of a key, and how many keys.
const mostTold = 10

// Check reports whether the operations are linearizable, each key for itself.
// Operations that failed were not done, and are left out. One of which nobody knows
// may be done at any time after its invocation, or never; if it asks, it is left out.
//
// The verdict is Unknown where a limit was reached, where nothing was acknowledged
// and where nothing was read. The error is about the options, about an operation
// that the model does not know, or one whose value has not the form that it asks
// for; it is the context's cause if that ended the check.
func Check(ctx context.Context, ops []history.Op, o Options) (*Finding, error) {
	if models[o.Model] == nil {
		return nil, fmt.Errorf("there is no model %q: it is one of %s", o.Model, strings.Join(Models(), ", "))
	}
	if o.TimeLimit < 0 || o.MemoryLimit < 0 {
		return nil, errors.New("a limit is below zero")
	}
	if o.TimeLimit == 0 {
		o.TimeLimit = DefaultTimeLimit
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.Within == nil {
		o.Within = context.WithTimeoutCause
	}
	keys, err := partition(ops, o.Model)
	if err != nil {
		return nil, err
	}
	limited, cancel := o.Within(ctx, o.TimeLimit, errTime)
	defer cancel()
	c := checker{Options: o, finding: &Finding{options: o}}
	for i := range keys {
		if err := c.key(limited, &keys[i]); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	c.conclude(keys, len(ops))
	return c.finding, nil
}

// key is a key with its operations.
type key struct {
	name history.Value
	ops  []*history.Op
}

func (k *key) String() string {
	if k.name.IsNone() {
		return "the history"
	}
	return "key " + k.name.Text()
}

// partition sorts operations by key, those that are first used first.
func partition(ops []history.Op, model string) ([]key, error) {
	known := models[model]
	places := map[history.Value]int{}
	var keys []key
	last := -1
	for i := range ops {
		op := &ops[i]
		if _, ok := known[op.F]; !ok {
			return nil, refused(op, fmt.Errorf("the model %s knows %s", model, strings.Join(functions(model), ", ")))
		}
		if last < 0 || keys[last].name != op.Key {
			place, ok := places[op.Key]
			if !ok {
				place = len(keys)
				places[op.Key] = place
				keys = append(keys, key{name: op.Key})
			}
			last = place
		}
		keys[last].ops = append(keys[last].ops, op)
	}
	return keys, nil
}

func functions(model string) []string {
	var names []string
	for name := range models[model] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func refused(op *history.Op, err error) error {
	return fmt.Errorf("operation %d, %q %s: %w", op.Index, op.F, op.Who(), err)
}

// checker is a check under way.
type checker struct {
	Options
	finding   *Finding
	undecided []string // keys, and why
	failed    []string // keys, and how
	more      int      // failed keys that are not told
}

// key decides for one key.
func (c *checker) key(ctx context.Context, k *key) error {
	if c.Model == "register" {
		if breaches, unique := zones(k.ops, c.Initial); unique {
			if len(breaches) > 0 {
				c.breached(k, breaches)
			}
			return nil
		}
	}
	m := newMachine(c.Model, c.Initial)
	calls := make([]call, 0, len(k.ops))
	for _, op := range k.ops {
		if op.Outcome == history.Fail {
			continue
		}
		call, err := m.call(op)
		if err != nil {
			return refused(op, err)
		}
		calls = append(calls, call)
	}
	calls = m.settle(calls)
	s := &search{ctx: ctx, machine: m, limit: c.MemoryLimit}
	ok, _, err := s.run(calls, false)
	switch {
	case err != nil:
		c.undecided = append(c.undecided, fmt.Sprintf("%s with its %s operations: %s", k, count(len(k.ops)), c.limit(err)))
		return nil
	case !ok:
		c.stuck(k, s, calls)
	}
	return nil
}

// limit tells a limit that was reached.
func (c *checker) limit(err error) string {
	switch {
	case errors.Is(err, errMemory):
		return fmt.Sprintf("the search would take more than %d MiB", c.MemoryLimit>>20)
	case errors.Is(err, errTime):
		return fmt.Sprintf("the search was not done after %v", c.TimeLimit)
	}
	return err.Error()
}

// fail notes that a key is not linearizable, and why, in a sentence and by points.
func (c *checker) fail(k *key, why, name string, points []history.Point) {
	if len(c.failed) == mostTold {
		c.more++
		return
	}
	c.group(k, name, points)
	c.failed = append(c.failed, why)
}

// group adds what is alike of a key that failed; the first of all is in the sentence.
func (c *checker) group(k *key, name string, points []history.Point) {
	if !k.name.IsNone() {
		name += ", " + k.String()
	}
	told := len(c.finding.Groups) == 0
	c.finding.Groups = append(c.finding.Groups, history.Group{Name: name, Bad: true, Points: points, Told: told})
}

// conclude makes the verdict and the sentence.
func (c *checker) conclude(keys []key, n int) {
	r := &c.finding.Result
	r.Checker = "check_linearizable"
	several := len(keys) > 1
	switch changed, asked := c.acknowledged(keys); {
	case len(c.failed) > 0 && several:
		r.Verdict = history.Invalid
		r.Summary = fmt.Sprintf("%s of %s keys are not linearizable as a %s: %s",
			count(len(c.failed)+c.more), count(len(keys)), c.Model, c.failed[0])
		if len(c.failed)+c.more == 1 {
			r.Summary = fmt.Sprintf("1 of %s keys is not linearizable as a %s: %s", count(len(keys)), c.Model, c.failed[0])
		}
	case len(c.failed) > 0:
		r.Verdict = history.Invalid
		r.Summary = fmt.Sprintf("the history is not linearizable as a %s: %s", c.Model, c.failed[0])
	case len(c.undecided) > 0:
		r.Verdict = history.Unknown
		r.Summary = "undecided: " + c.undecided[0]
		if more := len(c.undecided) - 1; more > 0 {
			r.Summary += fmt.Sprintf("; and %s more keys", count(more))
		}
		r.Summary += "; use fewer clients a key, or more keys with fewer operations each"
	case !changed:
		r.Verdict = history.Unknown
		r.Summary = fmt.Sprintf("nothing was acknowledged: of %s operations, none that changes a %s is ok", count(n), c.Model)
	case !asked:
		r.Verdict = history.Unknown
		r.Summary = fmt.Sprintf("nothing was read: of %s operations, none that shows what a %s holds is ok", count(n), c.Model)
	default:
		r.Verdict = history.Valid
		r.Summary = fmt.Sprintf("%s operations are linearizable as a %s", count(n), c.Model)
		if several {
			r.Summary = fmt.Sprintf("%s operations on %s keys are linearizable as a %s", count(n), count(len(keys)), c.Model)
		}
	}
}

// acknowledged reports whether a change was acknowledged, and whether anything was
// learnt of what the system holds.
func (c *checker) acknowledged(keys []key) (changed, asked bool) {
	for _, k := range keys {
		for _, op := range k.ops {
			if op.Outcome != history.OK {
				continue
			}
			switch models[c.Model][op.F] {
			case write, put, add, remove:
				changed = true
			case read, take, contains:
				asked = true
			case cas, acquire, release: // it shows what was there, too
				asked = true
				changed = changed || op.Result != "false"
			}
			if changed && asked {
				return
			}
		}
	}
	return
}

// count writes a number with a comma between its thousands.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
