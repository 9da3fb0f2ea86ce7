package history

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// SequenceOptions are what is not promised of a sequence.
type SequenceOptions struct {
	Gaps       bool // elements may be left out: they are a note
	Duplicates bool // elements may come again: they are a note
}

// Sequence looks at whether what each sender has sent was received in its order,
// without gaps and once. Operations are sent by their client, in their order; a plain
// list has one sender. Where sent is nil, what was received tells of it by its numbers:
// m1, m2 and m3 are the sequence of m, which may begin anywhere. What was received is a
// list, or operations, of which those that are OK returned it.
//
// An element is "out of order" if one of its sender that was sent later came before
// it, "left out" if one that was sent later came and it never did, "duplicated" if it
// came more often than it was sent. An attempt with outcome Info may be done at any
// time later, or never, and is in none of these. What was sent after the last that
// came is "outstanding", a note; what was not sent is "unexpected", what surely was not
// "failed but received". It is Unknown where nothing that was acknowledged was
// received.
func Sequence(sent, received Elements, o SequenceOptions) *Result {
	r := &Result{Checker: "check_sequence"}
	got := found(received, "received", not())
	var s *sequence
	if sent == nil {
		s = numberedSequence(got)
	} else {
		s = sentSequence(attempted(sent, not()), got)
	}
	unordered, missing, outstanding, seen := s.follow()
	r.add(Group{Name: "unexpected", Bad: true, Points: points(got, s.unexpected)})
	r.add(Group{Name: "failed but received", Bad: true, Points: points(got, s.refused)})
	r.add(Group{Name: "out of order", Bad: true, Points: points(got, unordered)})
	leftOut, notYet := s.gaps, make([]Point, len(outstanding))
	for _, n := range missing {
		leftOut = append(leftOut, s.point(n))
	}
	for i, n := range outstanding {
		notYet[i] = s.point(n)
	}
	if g := (Group{Name: "left out", Bad: true, Points: leftOut}); !o.Gaps {
		r.add(g)
	}
	if g := (Group{Name: "duplicated", Bad: true, Points: points(got, s.duplicated)}); !o.Duplicates {
		r.add(g)
	}
	r.sumUp(func(g Group) string {
		n := len(g.Points)
		if g.Name == "left out" && sent == nil {
			return fmt.Sprintf("%s in %s received", counted(n, "gap"), counted(got.Len(), "element"))
		}
		if g.Name == "left out" {
			return fmt.Sprintf("%s of %s sent %s left out", thousands(n), counted(s.sent, "element"), plural(n, "is", "are"))
		}
		if g.Name == "failed but received" {
			g.Name = "of an attempt that failed"
		}
		return fmt.Sprintf("%s of %s received %s %s", thousands(n), counted(got.Len(), "element"), plural(n, "is", "are"), g.Name)
	})
	switch {
	case r.Summary != "":
	case got.Len() == 0:
		r.Summary = "nothing was received"
	case seen == 0:
		r.Summary = "nothing that was acknowledged was received"
	default:
		r.Summary = counted(got.Len(), "element") + " received in sequence"
	}
	if o.Gaps {
		r.add(Group{Name: "left out", Points: leftOut})
	}
	if o.Duplicates {
		r.add(Group{Name: "duplicated", Points: points(got, s.duplicated)})
	}
	r.add(Group{Name: "outstanding", Points: notYet})
	return r.judge(seen > 0)
}

// sequence is what was received of what was sent. What was sent has numbers from 0,
// those of a sender in its order.
type sequence struct {
	sent       int
	sender     func(n int) int   // of what was sent
	sure       func(n int) bool  // it was acknowledged
	point      func(n int) Point // where it is from
	came       []int             // of each that was received its number, or -1 where it is in one of those below
	unexpected []int             // these are places of what was received
	refused    []int
	duplicated []int
	gaps       []Point // what was left out, where nothing tells what was sent
}

// follow goes through what was received. Unordered are places in it, leftOut and
// outstanding what was sent; seen is how many came that were acknowledged.
func (s *sequence) follow() (unordered, leftOut, outstanding []int, seen int) {
	latest := map[int]int{} // of each sender
	has := make([]bool, s.sent)
	for i, n := range s.came {
		if n < 0 {
			continue
		}
		has[n] = true
		l, ok := latest[s.sender(n)]
		if s.sure(n) {
			seen++
			if ok && l > n {
				unordered = append(unordered, i)
			}
		}
		if !ok || n > l {
			latest[s.sender(n)] = n
		}
	}
	for n, came := range has {
		if came || !s.sure(n) {
			continue
		}
		if l, ok := latest[s.sender(n)]; ok && n < l {
			leftOut = append(leftOut, n)
		} else {
			outstanding = append(outstanding, n)
		}
	}
	return unordered, leftOut, outstanding, seen
}

// sentSequence finds what was received among what was sent. Of elements that are the
// same each that is received is the next.
func sentSequence(sent, got Elements) *sequence {
	s := &sequence{sent: sent.Len(), came: make([]int, got.Len()), point: sent.Point,
		sender: func(int) int { return 0 }, sure: func(int) bool { return true }}
	ops, _ := sent.(attempts)
	if ops != nil {
		senders := make([]int, len(ops))
		known := map[who]int{}
		for i, o := range ops {
			id, ok := known[who{o.Node, o.Client}]
			if !ok {
				id = len(known)
				known[who{o.Node, o.Client}] = id
			}
			senders[i] = id
		}
		s.sender = func(n int) int { return senders[n] }
		s.sure = func(n int) bool { return ops[n].Outcome == OK }
	}
	// Of the first of those that are the same, next is the one that is received next,
	// and last the last one; of the others next is the one after. 0 is none.
	next, last := make([]uint32, sent.Len()), make([]uint32, sent.Len())
	after := make([]uint32, sent.Len())
	known := newIndex(sent)
	known.find(sent, func(i int, x *slot) {
		if x.at == 0 {
			x.at = uint32(i + 1)
		}
		if ops != nil && ops[i].Outcome == Fail {
			return
		}
		first := x.at - 1
		if last[first] == 0 {
			next[first] = uint32(i + 1)
		} else {
			after[last[first]-1] = uint32(i + 1)
		}
		last[first] = uint32(i + 1)
	})
	known.find(got, func(i int, x *slot) {
		s.came[i] = -1
		switch {
		case x.at == 0:
			s.unexpected = append(s.unexpected, i)
		case last[x.at-1] == 0:
			s.refused = append(s.refused, i)
		case next[x.at-1] == 0:
			s.duplicated = append(s.duplicated, i)
		default:
			n := next[x.at-1] - 1
			s.came[i], next[x.at-1] = int(n), after[n]
		}
	})
	return s
}

// numberedSequence takes what was received for what was sent: what stands before the
// number in which a text ends is its sender. Gaps are told by the first element after
// them.
func numberedSequence(got Elements) *sequence {
	type element struct {
		sender int
		n      int64
		place  int
	}
	s := &sequence{came: make([]int, got.Len()), point: got.Point, sure: func(int) bool { return true }}
	known := map[string]int{}
	prefixes := []string{}
	all := make([]element, 0, got.Len())
	for i := range got.Len() {
		s.came[i] = -1
		prefix, n, ok := cutDigits(got.Text(i))
		if !ok {
			s.unexpected = append(s.unexpected, i)
			continue
		}
		id, isKnown := known[prefix]
		if !isKnown {
			id = len(known)
			known[prefix] = id
			prefixes = append(prefixes, prefix)
		}
		all = append(all, element{id, n, i})
	}
	slices.SortFunc(all, func(a, b element) int {
		return cmp.Or(cmp.Compare(a.sender, b.sender), cmp.Compare(a.n, b.n), cmp.Compare(a.place, b.place))
	})
	var senders []int
	for i, e := range all {
		isOwn := i > 0 && all[i-1].sender == e.sender
		if isOwn && all[i-1].n == e.n {
			s.duplicated = append(s.duplicated, e.place)
			continue
		}
		s.came[e.place] = s.sent
		senders = append(senders, e.sender)
		s.sent++
		if isOwn && all[i-1].n+1 < e.n {
			from := all[i-1].n + 1
			p := got.Point(e.place)
			p.Element = fmt.Sprint(prefixes[e.sender], from)
			if from+1 < e.n {
				p.Element += fmt.Sprint("–", prefixes[e.sender], e.n-1)
			}
			s.gaps = append(s.gaps, p)
		}
	}
	slices.Sort(s.duplicated)
	s.sender = func(n int) int { return senders[n] }
	return s
}

// cutDigits cuts a text before the whole number in which it ends, with its zeros.
func cutDigits(text string) (prefix string, n int64, ok bool) {
	from := len(text)
	for from > 0 && text[from-1] >= '0' && text[from-1] <= '9' {
		from--
	}
	if from == 1 && text[0] == '-' {
		from = 0
	}
	if from == len(text) {
		return "", 0, false
	}
	n, err := strconv.ParseInt(text[from:], 10, 64)
	return text[:from], n, err == nil
}
