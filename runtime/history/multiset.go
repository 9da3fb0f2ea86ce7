package history

import (
	"hash/maphash"
	"slices"
)

// index finds the first of the elements of a list that have a text, as a map from
// texts to numbers would. To look for one of a million is to wait for the memory; so
// many are looked for at a time, and one wait is that of all of them, which takes a
// quarter of the time.
type index struct {
	of      Elements
	seed    maphash.Seed
	slots   []slot // a power of two of them, at least a third of them free
	touched uint32 // nothing; what is read must be of some use to be read
}

// slot is where a text is looked for, and then the next one, and so on.
type slot struct {
	tag uint32 // of the text's hash
	at  uint32 // the first element that has it, from 1; 0 where the slot is free
}

// newIndex makes the index of a list's texts, with none of them in it. A list of
// 1<<32 elements does not fit a machine's memory.
func newIndex(of Elements) *index {
	size := 8
	for size*2 < of.Len()*3 {
		size *= 2
	}
	return &index{of: of, seed: maphash.MakeSeed(), slots: make([]slot, size)}
}

// find calls found with each element of a list, in their order, and the slot of its
// text. One that is free becomes that of the text if found sets at.
func (x *index) find(list Elements, found func(i int, s *slot)) {
	var hashes [128]uint64
	var texts [len(hashes)]string
	last := uint64(len(x.slots) - 1)
	for from := 0; from < list.Len(); from += len(hashes) {
		n := min(list.Len()-from, len(hashes))
		for i := range n {
			texts[i] = list.Text(from + i)
			hashes[i] = maphash.String(x.seed, texts[i])
		}
		for i := range n {
			x.touched += x.slots[hashes[i]&last].at
		}
		for i := range n {
			found(from+i, x.slot(hashes[i], texts[i]))
		}
	}
}

// slot is the slot of a text, or a free one that can be.
func (x *index) slot(hash uint64, text string) *slot {
	tag := uint32(hash >> 32)
	for i := hash; ; i++ {
		s := &x.slots[i&uint64(len(x.slots)-1)]
		if s.at == 0 {
			s.tag = tag
			return s
		}
		if s.tag == tag && x.of.Text(int(s.at-1)) == text {
			return s
		}
	}
}

// comparison is what was found of what was attempted. An element counts as often as
// it is there.
type comparison struct {
	attempted, found Elements

	// Places in found. Extra were not attempted at all, Refused were, but surely not
	// done; Duplicated were attempted less often, of several the last ones.
	extra, refused, duplicated []int
	matched                    int // how many were attempted

	ops   attempts // the attempts, where they are operations
	first []uint32 // of each attempt, the first one with its text
	left  []uint32 // how often the text of a first attempt is still to be found
	// How often the text of a first attempt was attempted, without those that were
	// surely not done, and acknowledged. Nil where they are not operations: left is
	// enough where all was acknowledged.
	tries, acked []uint32
}

// compare compares what was found with what was attempted.
func compare(attempted, found Elements) *comparison {
	c := &comparison{attempted: attempted, found: found}
	known := newIndex(attempted)
	n := attempted.Len()
	c.first, c.left = make([]uint32, n), make([]uint32, n)
	c.ops, _ = attempted.(attempts)
	if c.ops != nil {
		c.acked = make([]uint32, n)
	}
	known.find(attempted, func(i int, s *slot) {
		if s.at == 0 {
			s.at = uint32(i + 1)
		}
		first := s.at - 1
		c.first[i] = first
		if c.ops != nil && c.ops[i].Outcome == Fail {
			return
		}
		c.left[first]++
		if c.ops != nil && c.ops[i].Outcome == OK {
			c.acked[first]++
		}
	})
	if c.ops != nil {
		c.tries = slices.Clone(c.left)
	}
	known.find(found, func(i int, s *slot) {
		switch {
		case s.at == 0:
			c.extra = append(c.extra, i)
		case c.left[s.at-1] > 0:
			c.left[s.at-1]--
			c.matched++
		case c.tries != nil && c.tries[s.at-1] == 0:
			c.refused = append(c.refused, i)
		default:
			c.duplicated = append(c.duplicated, i)
		}
	})
	return c
}

// missing are the attempts that were acknowledged and not found: of several with a
// text the last ones. It may be called once, after recovered.
func (c *comparison) missing() []int {
	if c.matched == len(c.first) {
		return nil
	}
	if c.ops != nil {
		for i, tries := range c.tries {
			c.left[i] = c.acked[i] - min(c.acked[i], tries-c.left[i])
		}
	}
	all := make([]int, 0, len(c.first)-c.matched)
	for i, first := range slices.Backward(c.first) {
		if c.left[first] > 0 && (c.ops == nil || c.ops[i].Outcome == OK) {
			c.left[first]--
			all = append(all, i)
		}
	}
	slices.Reverse(all)
	return all
}

// recovered are the attempts of which nobody knew, and that were found: of several
// with a text the first ones.
func (c *comparison) recovered() (all []int) {
	if c.ops == nil {
		return nil
	}
	due := make([]uint32, len(c.tries))
	for i, tries := range c.tries {
		due[i] = tries - c.left[i] - min(c.acked[i], tries-c.left[i])
	}
	for i, first := range c.first {
		if due[first] > 0 && c.ops[i].Outcome == Info {
			due[first]--
			all = append(all, i)
		}
	}
	return all
}

// asSet makes of the attempts and of what was found what they are to a set, in which
// an element is or is not: all attempts at it are one, which was acknowledged if one
// of them was, and found if the element was.
func (c *comparison) asSet() {
	if c.tries == nil {
		c.tries = make([]uint32, len(c.first))
		for _, first := range c.first {
			c.tries[first]++
		}
		c.acked = slices.Clone(c.tries)
	}
	for i, tries := range c.tries {
		wasFound := tries - c.left[i]
		c.tries[i], c.acked[i] = min(tries, 1), min(c.acked[i], 1)
		c.left[i] = c.tries[i] - min(wasFound, 1)
	}
}

// acknowledged is how many elements were acknowledged.
func (c *comparison) acknowledged() (n int) {
	if c.acked == nil {
		return len(c.first)
	}
	for _, acked := range c.acked {
		n += int(acked)
	}
	return n
}

// points are those of the elements at some places of a list.
func points(of Elements, places []int) []Point {
	all := make([]Point, len(places))
	for n, i := range places {
		all[n] = of.Point(i)
	}
	return all
}
