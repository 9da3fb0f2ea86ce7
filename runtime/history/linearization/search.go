package linearization

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"

	"github.com/anishathalye/porcupine"
)

// The limits of a search, as causes of its end.
var (
	errTime   = errors.New("the time limit was reached")
	errMemory = errors.New("the memory limit was reached")
)

// search is porcupine with a limit of memory. Porcupine remembers every pair of a
// set of operations and a state that it comes to, and has no way to say that this is
// too much: within half a minute it can take 13 GiB. What it keeps is known, though,
// call by call: so what is counted here is what it keeps, and not what the process
// has. That makes the limit as good for two searches at once, and the verdict the
// same on every machine. A search is ended by steps that all fail: porcupine then
// unwinds what it has, without looking at more than each call's neighbours.
type search struct {
	ctx     context.Context
	machine *machine
	limit   int64 // bytes

	entry  int64 // bytes that a remembered pair takes
	used   int64 // bytes taken
	waste  int64 // bytes of states that were known already, since the last collection
	states map[string]*state
	steps  uint
	ended  error
}

// state is a state with what porcupine asks of it. There is one of each.
type state struct {
	text string
	hash uint64
}

// Bytes that porcupine and this package take, rounded up: for a remembered pair in
// its map beside the set of operations, for a call in all its forms, and for a state.
// TestMemory holds them against what a process really takes.
const (
	pairSize  = 48 + 96
	callSize  = 640
	stateSize = 128

	reserve = 6 // this part of the limit is for what is not in use any more
)

// run reports whether the calls can be put in an order. The error is why it does not
// know. A verbose one tells the orders that it tried, which takes memory that is not
// counted: eight bytes for each pair of calls, about.
func (s *search) run(calls []call, verbose bool) (ok bool, info porcupine.LinearizationInfo, err error) {
	s.states = map[string]*state{}
	s.entry = pairSize + int64(len(calls)+63)/64*8*9/8 // size classes waste up to an eighth
	s.used, s.waste, s.steps, s.ended = int64(len(calls))*callSize, 0, 0, nil
	if s.used > s.limit {
		return false, info, errMemory
	}
	if err := s.expired(); err != nil {
		return false, info, err
	}
	ops := make([]porcupine.Operation, len(calls))
	for i := range calls {
		c := &calls[i]
		ops[i] = porcupine.Operation{ClientId: c.op.Process, Input: c, Call: c.from, Return: c.to}
	}
	var result porcupine.CheckResult
	if verbose {
		result, info = porcupine.CheckOperationsVerbose(s.model(), ops, 0)
	} else if porcupine.CheckOperations(s.model(), ops) {
		result = porcupine.Ok
	}
	s.states = nil
	if s.used > s.limit/8 {
		runtime.GC() // else what was used here is still there while the next search grows
	}
	if result != porcupine.Ok && s.ended != nil {
		return false, info, s.ended
	}
	return result == porcupine.Ok, info, nil
}

func (s *search) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return s.state(s.machine.start) },
		Step: func(from, input, _ any) (bool, any) {
			before := from.(*state)
			if s.steps++; s.steps%256 == 0 && s.ended == nil {
				s.ended = s.expired()
			}
			if s.ended != nil {
				return false, before
			}
			next, ok := s.machine.step(before.text, input.(*call))
			if !ok {
				return false, before
			}
			if s.used += s.entry; s.used > s.limit-s.limit/reserve {
				s.ended = errMemory
				return false, before
			}
			if s.used+s.waste > s.limit {
				runtime.GC() // which by itself comes at twice of what is used
				s.waste = 0
			}
			if next == before.text {
				return true, before
			}
			return true, s.state(next)
		},
		Equal: func(a, b any) bool { // asked of a pair whose set is remembered: one that is not kept again
			if a != b {
				return false
			}
			s.used -= s.entry
			return true
		},
		Hash: func(a any) uint64 { return a.(*state).hash },
		DescribeOperation: func(input, _ any) string {
			return s.machine.what(input.(*call))
		},
		DescribeState: func(a any) string { return s.machine.describe(a.(*state).text) },
	}
}

func (s *search) state(text string) *state {
	known := s.states[text]
	size := stateSize + int64(len(text))*9/8
	s.waste += size
	if known == nil {
		n := uint64(len(s.states) + 1)
		known = &state{text: text, hash: n * 0x9e3779b97f4a7c15}
		s.states[text] = known
		s.used += size
	}
	return known
}

func (s *search) expired() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// shortest returns the fewest of the calls that have no order: those up to the
// completion of one, which is returned too. What is not complete by then is open.
// Without the last completion they do have an order. The calls have none; the error
// is why it does not know.
func (s *search) shortest(calls []call) (prefix []call, culprit int, err error) {
	var complete []int // in order of completion
	for i := range calls {
		if calls[i].to != forever {
			complete = append(complete, i)
		}
	}
	slices.SortStableFunc(complete, func(a, b int) int { return cmp.Compare(calls[a].to, calls[b].to) })
	low, high := 0, len(complete)-1 // the last completion is among these
	for low < high {
		mid := (low + high) / 2
		ok, _, err := s.run(s.machine.settle(until(calls, complete, mid)), false)
		if err != nil {
			return nil, 0, err
		}
		if ok {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if high < 0 {
		return calls, -1, nil
	}
	prefix = s.machine.settle(until(calls, complete, high))
	culprit = slices.IndexFunc(prefix, func(c call) bool { return c.op == calls[complete[high]].op })
	return prefix, culprit, nil
}

// until returns the calls that were invoked by the completion of the one at a place
// of the order of completion, which is the last that is complete.
func until(calls []call, complete []int, last int) []call {
	end := calls[complete[last]].to
	late := map[int]bool{}
	for _, i := range complete[last+1:] {
		if calls[i].from > end {
			continue
		}
		late[i] = true
	}
	prefix := make([]call, 0, len(calls))
	for i := range calls {
		c := calls[i]
		if c.from > end {
			continue
		}
		if late[i] {
			c.open, c.to = true, forever
			c.refused = false
		}
		prefix = append(prefix, c)
	}
	return prefix
}
