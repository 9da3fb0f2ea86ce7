package builtins

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/history/linearization"
	"github.com/dagon-star/dagon-star/runtime/history/transaction"
	"github.com/dagon-star/dagon-star/runtime/record"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

func checkers() family {
	return family{"checkers", `Compare what the system was given with what it gave back, or judge a whole history. Each is given operations, as of
ops(), or a plain list, of which everything was acknowledged. Elements are compared as texts: 5 is the same as "5". A
checker fails the run if the history is wrong, and says which elements, in ranges, where the first is from, and which
faults were in force then. If nothing was acknowledged, or nothing read, it has shown nothing: the run is
inconclusive, unless it fails. A checker returns what it found: a value with verdict, "valid", "unknown" or "invalid",
and text. message and soft are as for check. For records of files there are also check_same and check_subset.`, []builtin{
		{"check_set", "attempts, read=None, duplicates=True, message=None, soft=False", `Fails the run unless everything that was acknowledged is in what was read, and nothing else is but what nobody knows
the outcome of. attempts are operations that add an element, or a list. read is a list, or operations of which the
last that is ok returned one; without it, the operations among attempts that are called "read". duplicates=False fails
if an element is there more often than it was added.
Example:
for i in range(3):
    op("add", lambda: exec(web, "echo %d >> set.txt" % i), value=i)
check_set(ops("add"), read(web, "set.txt").split())`, checkSet},
		{"check_set_full", "history, linearizable=False, duplicates=True, message=None, soft=False", `Looks at each element of a set over time: operations called "read" return all that is there, all others add their
value. It fails if an element is lost or was never added; with linearizable=True also if it is stale: known, and
missing in a read that began later. duplicates is as for check_set. It is inconclusive if no element was read and
stayed. An element that was never read is a note.
Example:
for i in range(3):
    op("add", lambda: exec(web, "echo %d >> set.txt" % i), value=i)
    op("read", lambda: read(web, "set.txt").split())
check_set_full(ops(), linearizable=True)`, checkHistory(func(c *call, ops history.Ops) (*history.Result, error) {
			return history.SetFull(ops, history.SetFullOptions{Once: c.isFalse("duplicates"), Linearizable: c.truth("linearizable")}), nil
		})},
		{"check_queue", "enqueued, dequeued=None, duplicates=True, message=None, soft=False", `Fails the run unless everything that was put into a queue and acknowledged came out of it, as often, and nothing else
did but what nobody knows the outcome of. What is still in it counts as lost: drain it first. Both are operations or
lists; without dequeued, they are operations with those called "dequeue" and "drain" among them, each of which returns
an element or a list. duplicates is as for check_set.
It is inconclusive if what is missing may have been taken by a dequeue that nobody knows the outcome of.
Example:
for i in range(3):
    op("enqueue", lambda: exec(web, "echo %d >> queue.txt" % i), value=i)
op("drain", lambda: read(web, "queue.txt").split())
check_queue(ops())`, checkQueue},
		{"check_sequence", "sent, received=None, gaps=False, duplicates=False, message=None, soft=False", `Fails the run unless what each sender has sent was received in its order, without gaps and once; gaps=True and
duplicates=True allow these. A sender is a client of operations; a list has one. If only one list is given it is what
was received, and its numbers are the sequence: m1, m2, m3. What was sent after the last that came is a note.
Example:
for i in range(3):
    op("send", lambda: exec(web, "echo m%d >> log.txt" % i), value="m%d" % i)
check_sequence(ops("send"), read(web, "log.txt").split())`, checkSequence},
		{"check_counter", "history, start=0, message=None, soft=False", `Fails the run unless every read of a counter, one for each key, is at least what had surely been added when it began,
and at most what may have been when it ended. Operations called "read" return a whole number; all others add their
value, 1 if they have none. start is what the counters begin at. It is inconclusive if no read began after an addition
to its key that is ok.
Example:
for i in range(3):
    op("add", lambda: exec(web, "echo >> count.txt"), value=1)
    op("read", lambda: int(exec(web, "wc -l < count.txt").out.strip()))
check_counter(ops())`, checkHistory(func(c *call, ops history.Ops) (*history.Result, error) {
			start, err := c.integer("start", 0, math.MinInt64)
			return history.Counter(ops, history.CounterOptions{Start: start}), err
		})},
		{"check_unique", "given, message=None, soft=False", `Fails the run if the system has given the same out more than once, such as an id. given are operations or a list.
Example:
for i in range(3):
    op("new_id", lambda: exec(web, "cat /proc/sys/kernel/random/uuid").out)
check_unique(ops("new_id"))`, checkUnique},
		{"check_bank", "history, total=None, negative=False, message=None, soft=False", `Fails the run unless every read of a bank sums to the total, by default that of the first read, and no balance is
below zero, unless negative=True. Operations called "read" return a dict, account to balance, or a list of balances;
all others are transfers. Each key is a bank. It is inconclusive if no read was compared: without total the first is
not, and a second one must be there. A read of no accounts sums to zero; without total it is a note if it is the first.
Example:
exec(web, "echo 60 40 > bank.txt")
op("read", lambda: [int(b) for b in read(web, "bank.txt").split()])
check_bank(ops(), total=100)`, checkHistory(func(c *call, ops history.Ops) (*history.Result, error) {
			total, err := c.value("total")
			return history.Bank(ops, history.BankOptions{Total: total, AllowNegative: c.truth("negative")}), err
		})},
		{"check_sessions", "history, initial=None, message=None, soft=False", `Fails the run unless there is an order of the values that were written for each key in which every process reads
nothing older than what it has read or written before, and writes in its own order: monotonic reads, read your writes,
monotonic writes. Operations are called "read" and "write"; each value is to be written once. initial is what each key
had before the first write, the oldest value. It is inconclusive if no process has read after it had read or written.
Example:
op("write", lambda: exec(web, "echo 1 > x.txt"), value="1", key="x")
op("read", lambda: read(web, "x.txt").strip(), key="x")
check_sessions(ops())`, checkHistory(func(c *call, ops history.Ops) (*history.Result, error) {
			initial, err := c.value("initial")
			return history.Sessions(ops, history.SessionsOptions{Initial: initial}), err
		})},
		{"check_linearizable", "history, model=\"register\", initial=None, key=None, time_limit=\"1m\", memory_mb=1024, message=None, soft=False", `Fails the run unless each operation can have been done at one instant while it was under way, each key for itself, or
the given one alone. model is register (read, write), cas-register (also cas, whose value is [expected, new]), queue
(enqueue, dequeue), stack (push, pop), mutex (acquire, release) or set (add, remove, contains, read); those are the
names that operations have. What is "fail" is left out, and so is what returned False to op: contains is for histories
that nodes tell. initial is a register's value before the first write. Registers of which each value is
written once are decided at once, a million operations in a second or so. All else is a search, which time_limit and
memory_mb bound: the run is inconclusive if it comes to one of them, as it does with thousands of operations of many
clients on one key. Give each client few operations on each of many keys. Other tasks run meanwhile. If it fails, a
picture of the key is in the run's folder, linearizability.html, the next linearizability-2.html.
Example:
def put(value):
    exec(web, "echo %s > new.txt && mv new.txt x.txt" % value)
for value in ("a", "b"):
    op("write", lambda: put(value), value=value)
    op("read", lambda: read(web, "x.txt").strip())
check_linearizable(ops(), model="register")`, checkLinearizable},
		{"check_transactions", "history, level=\"serializable\", process=False, initial=None, message=None, soft=False", `Fails the run if transactions have read what the level of isolation forbids, and tells the cycle in words. The value
of one is a list of micro-operations, ["append", key, element] and ["r", key, None], or ["w", key, value] and ["r",
key, None] for registers, and its result is that list with what was read. Every element and value is written once.
initial is what a register holds before the first write.
level is read-uncommitted, read-committed, repeatable-read, snapshot-isolation, serializable or strict-serializable;
process=True demands too that each process sees its own in their order. That nothing is found does not prove
isolation. Other tasks run meanwhile.
Example:
def txn():
    exec(web, "echo 1 >> x.txt")
    return [["append", "x", 1], ["r", "x", [int(v) for v in read(web, "x.txt").split()]]]
op("txn", txn, value=[["append", "x", 1], ["r", "x", None]])
check_transactions(ops("txn"), level="serializable")`, checkTransactions},
	}}
}

// isFalse reports whether an argument was given that is false.
func (c *call) isFalse(name string) bool {
	v := c.arg(name)
	return v != nil && !bool(v.Truth())
}

// checkHistory calls a checker of operations.
func checkHistory(check func(c *call, ops history.Ops) (*history.Result, error)) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		ops, err := c.history("history")
		if err != nil {
			return nil, err
		}
		r, err := check(c, ops)
		if err != nil {
			return nil, err
		}
		return c.checked(r)
	}
}

func checkSequence(c *call) (starlark.Value, error) {
	sent, err := c.toCompare("sent")
	if err != nil {
		return nil, err
	}
	received, err := c.toCompare("received")
	if err != nil {
		return nil, err
	}
	if received == nil {
		sent, received = nil, sent
	}
	var r *history.Result
	err = c.task.While(func(context.Context) error {
		r = history.Sequence(sent, received, history.SequenceOptions{Gaps: c.truth("gaps"), Duplicates: c.truth("duplicates")})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.checked(r)
}

func checkLinearizable(c *call) (starlark.Value, error) {
	ops, err := c.history("history")
	if err != nil {
		return nil, err
	}
	o := linearization.Options{Within: c.host.run.Within}
	if o.Model, err = c.text("model", "register"); err != nil {
		return nil, err
	}
	if !slices.Contains(linearization.Models(), o.Model) {
		return nil, c.wrong("model", "got %q, want %s", o.Model, strings.Join(linearization.Models(), ", "))
	}
	if o.Initial, err = c.value("initial"); err != nil {
		return nil, err
	}
	if o.TimeLimit, err = c.duration("time_limit", linearization.DefaultTimeLimit); err != nil {
		return nil, err
	}
	megabytes, err := c.integer("memory_mb", linearization.DefaultMemoryLimit>>20, 1)
	if err != nil {
		return nil, err
	}
	o.MemoryLimit = min(megabytes, 1<<40) << 20
	if c.arg("key") != nil {
		key, err := c.value("key")
		if err != nil {
			return nil, err
		}
		ops = slices.DeleteFunc(slices.Clone(ops), func(o history.Op) bool { return o.Key != key })
	}
	var f *linearization.Finding
	var picture bytes.Buffer
	faults := c.host.faults()
	err = c.task.While(func(ctx context.Context) (err error) {
		if f, err = linearization.Check(ctx, ops, o); err != nil || f.Verdict != history.Invalid {
			return err
		}
		if err := f.Picture(ctx, &picture, faults); err != nil {
			picture.Reset() // it is none that anybody could read
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if picture.Len() > 0 {
		name := c.host.pictureName()
		if err := c.host.run.WriteFile(name, picture.Bytes()); err != nil {
			return nil, err
		}
		return c.checked(&f.Result, "; its picture is "+name)
	}
	return c.checked(&f.Result)
}

func checkTransactions(c *call) (starlark.Value, error) {
	ops, err := c.history("history")
	if err != nil {
		return nil, err
	}
	level, err := c.text("level", string(transaction.Serializable))
	if err != nil {
		return nil, err
	}
	initial, err := c.value("initial")
	if err != nil {
		return nil, err
	}
	o := transaction.Options{Level: transaction.Level(level), Process: c.truth("process"), Initial: initial}
	var r *history.Result
	err = c.task.While(func(context.Context) (err error) {
		r, err = transaction.Check(ops, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.checked(r)
}

// pictureName is a name for the next picture, which no other has: linearizability.html,
// linearizability-2.html and so on.
func (h *Host) pictureName() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pictures++; h.pictures > 1 {
		return fmt.Sprintf("linearizability-%d.html", h.pictures)
	}
	return "linearizability.html"
}

// faults are those that have stayed in force for a while, for a picture.
func (h *Host) faults() (all []linearization.Fault) {
	lives := h.run.Faults()
	for _, f := range lives.Records() {
		if !f.Lasting || !f.Applied {
			continue
		}
		until := f.HealedAt
		if !f.Healed {
			until = h.run.Elapsed()
		}
		all = append(all, linearization.Fault{Name: f.Title(), From: f.AppliedAt, To: until})
	}
	return all
}

// toCompare is an argument that a checker compares: operations, records, or a list of
// values.
func (c *call) toCompare(name string) (history.Elements, error) {
	switch v := c.arg(name).(type) {
	case nil:
		return nil, nil
	case opList:
		return history.Ops(v), c.oneKey(name, history.Ops(v))
	case recordList:
		return c.compares(v), nil
	case starlark.Iterable:
		return c.listed(name, v)
	default:
		return nil, c.wrong(name, "got %s, want operations, records or a list", v.Type())
	}
}

// listed are those of a list, which may be one of operations or of records.
func (c *call) listed(name string, of starlark.Iterable) (history.Elements, error) {
	var (
		ops     history.Ops
		records []record.Record
		list    = make(history.List, 0, min(max(starlark.Len(of), 0), maxCompared))
		n       int
	)
	for element := range starlark.Elements(of) {
		if n++; n > maxCompared {
			return nil, c.wrong(name, "has over %d elements", maxCompared)
		}
		switch e := element.(type) {
		case opValue:
			ops = append(ops, *e.o)
		case recordValue:
			records = append(records, *e.r)
		default:
			v, err := c.toValue(e)
			if err != nil {
				return nil, c.wrong(name, "element %d: %v", n-1, err)
			}
			list = append(list, v)
		}
	}
	switch n {
	case len(ops):
		if n > 0 {
			return ops, c.oneKey(name, ops)
		}
		return list, nil
	case len(records):
		return c.compares(records), nil
	case len(list):
		return list, nil
	}
	return nil, c.wrong(name, "has operations or records among other values, want all of a kind")
}

// oneKey returns why a checker that knows no keys cannot be given operations, or nil: what
// belongs to one key would be looked for at another.
func (c *call) oneKey(name string, ops history.Ops) error {
	if !slices.Contains([]string{"check_set", "check_set_full", "check_queue"}, c.name) {
		return nil
	}
	for i := range ops {
		if ops[i].Key != ops[0].Key {
			return c.wrong(name, "it has operations on the keys %q and %q, want those of one, as of ops(key=…)",
				ops[0].Key.Text(), ops[i].Key.Text())
		}
	}
	return nil
}

// history is an argument that is operations.
func (c *call) history(name string) (history.Ops, error) {
	elements, err := c.toCompare(name)
	if err != nil {
		return nil, err
	}
	ops, ok := elements.(history.Ops)
	if list, isList := elements.(history.List); isList && len(list) == 0 {
		return nil, nil
	}
	if !ok {
		return nil, c.wrong(name, "got %s, want operations, as of ops()", c.arg(name).Type())
	}
	return inOrder(ops), nil
}

// inOrder are operations in the order in which they began, each once: a script may have
// put lists of them together.
func inOrder(ops history.Ops) history.Ops {
	byIndex := func(a, b history.Op) int { return cmp.Compare(a.Index, b.Index) }
	same := func(a, b history.Op) bool { return a.Index == b.Index }
	sorted := slices.Clone(ops)
	slices.SortStableFunc(sorted, byIndex)
	return slices.CompactFunc(sorted, same)
}

// checked is what a checker found: a finding where the history is not valid, with what is
// also told.
func (c *call) checked(r *history.Result, also ...string) (starlark.Value, error) {
	text := r.Text(history.TextOptions{Began: c.host.run.Clock().Time(0), Faults: c.host.run.FaultsAt}) + strings.Join(also, "")
	switch r.Verdict {
	case history.Invalid:
		if _, err := c.assert(false, "%s", text); err != nil {
			return nil, err
		}
	case history.Unknown:
		c.host.inconclusive(c.name+": "+text, c.place(), c.task.phase.during)
	}
	return frozenStruct("result", starlark.StringDict{
		"verdict": starlark.String(r.Verdict), "text": starlark.String(text),
	}), nil
}

// inconclusive adds the finding that a checker was shown nothing, once for each place.
func (h *Host) inconclusive(reason, where, during string) {
	h.mu.Lock()
	known := h.empty[reason+where]
	h.empty[reason+where] = true
	h.mu.Unlock()
	if !known {
		h.run.Find(verdict.Finding{Outcome: verdict.Inconclusive, Reason: reason, Where: where, During: during})
	}
}

// checkOf calls a checker of what was attempted and what was found.
func checkOf(attempts, found string, check func(a, f history.Elements, o history.SetOptions) *history.Result,
) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		a, err := c.toCompare(attempts)
		if err != nil {
			return nil, err
		}
		f, err := c.toCompare(found)
		if err != nil {
			return nil, err
		}
		if _, ok := a.(history.Ops); f == nil && !ok {
			return nil, c.wrong(found, "it may be left out only where %s are operations", attempts)
		}
		return c.checked(check(a, f, history.SetOptions{Once: c.isFalse("duplicates")}))
	}
}

func checkSet(c *call) (starlark.Value, error) { return checkOf("attempts", "read", history.Set)(c) }

func checkQueue(c *call) (starlark.Value, error) {
	return checkOf("enqueued", "dequeued", history.Queue)(c)
}

func checkUnique(c *call) (starlark.Value, error) {
	given, err := c.toCompare("given")
	if err != nil {
		return nil, err
	}
	return c.checked(history.Unique(given))
}
