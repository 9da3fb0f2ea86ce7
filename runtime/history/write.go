package history

import (
	"io"
	"slices"
	"time"
)

// flushAt is how many bytes Write gathers before it writes.
const flushAt = 256 << 10

// Write writes a whole history, as an Encoder does: its lines in the order of their
// times. Those who read it take an operation that ended on a line for one that was over
// before what begins on a later line, so that of what has the same time, what begins
// comes first, as far as its process is free. Operations that have not completed are so
// at the end.
func Write(w io.Writer, ops []Op, end time.Duration) error {
	e := NewEncoder(w)
	begun := make([]*Op, len(ops))
	for i := range ops {
		begun[i] = &ops[i]
	}
	ended := slices.Clone(begun)
	until := func(o *Op) time.Duration {
		if o.Open {
			return max(end, o.Invoked)
		}
		return o.Completed
	}
	slices.SortStableFunc(begun, func(a, b *Op) int { return int(a.Invoked - b.Invoked) })
	slices.SortStableFunc(ended, func(a, b *Op) int { return int(until(a) - until(b)) })
	busy := map[int]bool{} // processes that have begun what they have not ended
	for len(ended) > 0 {
		now := until(ended[0])
		if len(begun) > 0 {
			now = min(now, begun[0].Invoked)
		}
		first := func(all []*Op, at func(*Op) time.Duration) (n int) {
			for n < len(all) && at(all[n]) == now {
				n++
			}
			return n
		}
		b, d := first(begun, func(o *Op) time.Duration { return o.Invoked }), first(ended, until)
		starts, ends := begun[:b], ended[:d]
		begun, ended = begun[b:], ended[d:]
		for len(starts)+len(ends) > 0 {
			left := len(starts) + len(ends)
			starts = slices.DeleteFunc(starts, func(o *Op) bool {
				if busy[o.Process] {
					return false
				}
				busy[o.Process] = true
				e.Invoke(o)
				return true
			})
			started := func(o *Op) bool { return !slices.Contains(starts, o) }
			ends = slices.DeleteFunc(ends, func(o *Op) bool {
				if !busy[o.Process] || !started(o) {
					return false
				}
				busy[o.Process] = false
				closed := *o
				closed.Completed = until(o)
				e.Complete(&closed)
				return true
			})
			if left == len(starts)+len(ends) { // no history that a Recorder makes: its times are wrong
				break
			}
			if e.Unwritten() > flushAt {
				if err := e.Flush(); err != nil {
					return err
				}
			}
		}
	}
	return e.Flush()
}
