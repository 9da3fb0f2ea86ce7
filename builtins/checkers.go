package builtins

import (
	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/record"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

func checkers() family {
	const same = " message and soft are as for check."
	return family{"checkers", "Compare what the system was given with what it gave back, or judge a whole history. Each is given operations, as of ops(), or plain lists, of which everything was acknowledged. Elements are compared as texts: 5 is the same as \"5\". A checker fails the run where the history is wrong, and tells which elements, in ranges, where the first is from, and the faults in force then. Where nothing was acknowledged or nothing read, the run is inconclusive, unless it fails. A checker returns what it found: a value with verdict, \"valid\", \"unknown\" or \"invalid\", and text.", []builtin{
		{"check_set", "attempts, read=None, duplicates=True, message=None, soft=False", "Fails the run unless everything that was acknowledged is in what was read, and nothing else is but what nobody knows the outcome of. attempts are operations that add an element, or a list; read is a list, or operations of which the last that is ok returned one, and without it the reads among attempts. duplicates=False fails where an element is there more often than it was added." + same + " Example: check_set(ops(\"add\"), output(leader).split(\"\\n\")).", checkSet},
		{"check_queue", "enqueued, dequeued=None, duplicates=True, message=None, soft=False", "Fails the run unless everything that was put into a queue and acknowledged came out of it, as often, and nothing else did but what nobody knows the outcome of. What is still in it counts as lost: drain it first. Both are operations or lists; without dequeued they are operations with \"dequeue\" and \"drain\" among them. duplicates is as for check_set." + same + " Example: check_queue(ops(), soft=True).", checkQueue},
		{"check_unique", "given, message=None, soft=False", "Fails the run if the system has given the same out more than once, such as an id. given are operations or a list." + same + " Example: check_unique(ops(\"new_id\")).", checkUnique},
	}}
}

// toCompare is an argument that a checker compares: operations, records, or a list of
// values.
func (c *call) toCompare(name string) (history.Elements, error) {
	switch v := c.arg(name).(type) {
	case nil:
		return nil, nil
	case opList:
		return history.Ops(v), nil
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
			return ops, nil
		}
		return list, nil
	case len(records):
		return c.compares(records), nil
	case len(list):
		return list, nil
	}
	return nil, c.wrong(name, "has operations or records among other values, want all of a kind")
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
	return ops, nil
}

// checked is what a checker found: a finding where the history is not valid.
func (c *call) checked(r *history.Result) (starlark.Value, error) {
	text := r.Text(history.TextOptions{Began: c.host.run.Clock().Time(0), Faults: c.host.run.FaultsAt})
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
func checkOf(attempts, found string, check func(a, f history.Elements, o history.SetOptions) *history.Result) func(*call) (starlark.Value, error) {
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
		duplicates := c.arg("duplicates")
		o := history.SetOptions{Once: duplicates != nil && !bool(duplicates.Truth())}
		return c.checked(check(a, f, o))
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
