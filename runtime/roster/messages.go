package roster

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Message is a message that a node sent.
type Message struct {
	T       time.Duration // since the start of the run
	Address string        // in the present protocol's names
	Args    []any         // as package osc decodes them
	Seq     int64         // of its event
}

// Messages is the index of what one incarnation of a node has sent: in which spans of
// the log messages to an address are, and which of them have been given out. It costs
// four bytes for each span of the log and class of addresses, however many messages
// there are; a class is an address, or several that fall together.
type Messages struct {
	Count   int
	first   int64
	all     spans
	classes map[uint16]*spans
	cursors map[string]*cursor
}

// spanEvents is how many events of the log are a span.
const spanEvents = 256

// spans are the numbers of spans of the log, ascending.
type spans []uint32

func (s *spans) add(seq int64) {
	if span := uint32(seq / spanEvents); len(*s) == 0 || (*s)[len(*s)-1] != span {
		*s = append(*s, span)
	}
}

// cursor is what of the messages to an address has been given out.
type cursor struct {
	done []part  // of the log: it has no message that has not been given out, but for back
	back []int64 // what was given back, ascending
}

// part is a part of the log.
type part struct{ from, to int64 }

// after returns where the first part of the log ends that is done and holds a seq, or
// that seq, and up to where the log is not done from there on.
func (c *cursor) after(seq int64) (at, to int64) {
	i, _ := slices.BinarySearchFunc(c.done, seq, func(p part, seq int64) int { return cmp.Compare(p.to, seq+1) })
	if i < len(c.done) && c.done[i].from <= seq {
		seq = c.done[i].to
		i++
	}
	if i < len(c.done) {
		return seq, c.done[i].from
	}
	return seq, math.MaxInt64
}

// add adds a part that is done.
func (c *cursor) add(from, to int64) {
	if from >= to {
		return
	}
	// Those that it touches, from i on and before k, become one with it.
	i, _ := slices.BinarySearchFunc(c.done, from, func(p part, from int64) int { return cmp.Compare(p.to, from) })
	k := i
	for ; k < len(c.done) && c.done[k].from <= to; k++ {
		from, to = min(from, c.done[k].from), max(to, c.done[k].to)
	}
	if k > i {
		c.done[i] = part{from, to}
		c.done = slices.Delete(c.done, i+1, k)
		return
	}
	c.done = slices.Insert(c.done, i, part{from, to})
}

// class is the class of an address: FNV-1a, folded to 16 bits.
func class(address string) uint16 {
	h := uint32(2166136261)
	for i := range len(address) {
		h = (h ^ uint32(address[i])) * 16777619
	}
	return uint16(h>>16) ^ uint16(h)
}

// add counts a message, the event seq of the log, which is after all before it.
func (m *Messages) add(seq int64, address string) {
	if m.Count++; m.Count == 1 {
		m.first = seq
	}
	m.all.add(seq)
	c := class(address)
	s := m.classes[c]
	if s == nil {
		if m.classes == nil {
			m.classes = map[uint16]*spans{}
		}
		s = &spans{}
		m.classes[c] = s
	}
	s.add(seq)
}

// Span returns the first part of the log, from one seq on and before another, in which
// messages to an address may be, or to any where that is "". ok is false where there
// are none from seq on.
func (m *Messages) Span(address string, seq int64) (from, to int64, ok bool) {
	s := m.all
	if address != "" {
		of := m.classes[class(address)]
		if of == nil {
			return 0, 0, false
		}
		s = *of
	}
	i, _ := slices.BinarySearch(s, uint32(seq/spanEvents))
	if i == len(s) {
		return 0, 0, false
	}
	from = int64(s[i]) * spanEvents
	return max(from, seq, m.first), from + spanEvents, true
}

// Give gives out the first message to an address, from a seq on and before the seq end
// of the log, that has not been given out; what is before seq remains for others. find
// finds the first in a part of the log, and what it found last is what is given; its
// error is that the log cannot be read. It is asked of no part of the log twice.
func (m *Messages) Give(address string, seq, end int64, find func(from, to int64) (int64, bool, error)) (int64, bool, error) {
	c := m.cursors[address]
	if c == nil {
		if m.cursors == nil {
			m.cursors = map[string]*cursor{}
		}
		c = &cursor{}
		m.cursors[address] = c
	}
	back, _ := slices.BinarySearch(c.back, seq)
	isBack := back < len(c.back)
	if isBack {
		end = min(end, c.back[back])
	}
	for at := seq; at < end; {
		begin, to := c.after(at)
		to = min(to, end)
		for at = begin; at < to; {
			first, last, ok := m.Span(address, at)
			if !ok || first >= to {
				break
			}
			last = min(last, to)
			given, found, err := find(first, last)
			if err != nil {
				return 0, false, err
			}
			if found {
				c.add(begin, given+1)
				return given, true, nil
			}
			at = last
		}
		c.add(begin, to)
		at = max(begin, to)
	}
	if !isBack {
		return 0, false, nil
	}
	given, found, err := find(c.back[back], c.back[back]+1)
	if found && err == nil {
		c.back = slices.Delete(c.back, back, back+1)
	}
	return given, found, err
}

// GiveBack takes a message back that Give has given out, for the next call to get.
func (m *Messages) GiveBack(address string, seq int64) {
	c := m.cursors[address]
	i, _ := slices.BinarySearch(c.back, seq)
	c.back = slices.Insert(c.back, i, seq)
}
