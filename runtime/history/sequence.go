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
// time later, or never, and is in none of these. Where several attempts are of the same
// element any of them may have brought it: it is wrong only if no choice of these would
// be right, and Unknown if a search for one comes to its limit. What was sent after the last that
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
		s = sentSequence(inTime(attempted(sent, not())), got, o)
	}
	unordered, missing, outstanding := s.follow()
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
		if s.atMost && g.Name != "unexpected" && g.Name != "failed but received" {
			return fmt.Sprintf("what was sent is not in sequence: %s %s of %s received, if not fewer", thousands(n), g.Name,
				counted(got.Len(), "element"))
		}
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
	case s.undecided:
		r.Summary = fmt.Sprintf("undecided: who sent what was received was not found in %s attempts, as several were "+
			"of the same element; have each send elements that no other sends", thousands(mostStepsBack))
	case s.seen == 0:
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
	return r.judge(s.seen > 0 && !s.undecided)
}

// inTime sorts attempts by when they were invoked: operations of several lists, and those of
// a node that told of them late, may be in another order.
func inTime(e Elements) Elements {
	if ops, ok := e.(attempts); ok {
		slices.SortStableFunc(ops, func(a, b *Op) int { return cmp.Compare(a.Invoked, b.Invoked) })
	}
	return e
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
	seen       int     // how many of what was received were acknowledged
	undecided  bool    // what it is that was received is not known
	atMost     bool    // no more is wrong than what is told
}

// follow goes through what was received. Unordered are places in it, leftOut and
// outstanding what was sent.
func (s *sequence) follow() (unordered, leftOut, outstanding []int) {
	if s.undecided {
		return nil, nil, nil
	}
	latest := map[int]int{} // of each sender
	has := make([]bool, s.sent)
	for i, n := range s.came {
		if n < 0 {
			continue
		}
		has[n] = true
		l, ok := latest[s.sender(n)]
		if s.sure(n) && ok && l > n {
			unordered = append(unordered, i)
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
	return unordered, leftOut, outstanding
}

// sentSequence finds what was received among what was sent.
func sentSequence(sent, got Elements, o SequenceOptions) *sequence {
	s := &sequence{sent: sent.Len(), came: make([]int, got.Len()), point: sent.Point,
		sender: func(int) int { return 0 }, sure: func(int) bool { return true }}
	senders, sender := 1, make([]int32, sent.Len())
	ops, _ := sent.(attempts)
	if ops != nil {
		known := map[who]int32{}
		for i, o := range ops {
			id, ok := known[who{o.Node, o.Client}]
			if !ok {
				id = int32(len(known))
				known[who{o.Node, o.Client}] = id
			}
			sender[i] = id
		}
		senders = len(known)
		s.sender = func(n int) int { return int(sender[n]) }
		s.sure = func(n int) bool { return ops[n].Outcome == OK }
	}
	// An element is told by the first attempt at it. Of that there are how many others that
	// did not fail, the last of these, and how often it was received.
	type tally struct {
		tries, last, times int32
		acked              bool
	}
	element, of := make([]int32, sent.Len()), make([]tally, sent.Len())
	isRepeated, isTooOften := false, false
	known := newIndex(sent)
	known.find(sent, func(i int, x *slot) {
		if x.at == 0 {
			x.at = uint32(i + 1)
		}
		first := int32(x.at - 1)
		element[i] = first
		if ops != nil && ops[i].Outcome == Fail {
			element[i] = -1
			return
		}
		t := &of[first]
		t.tries++
		t.last = int32(i)
		t.acked = t.acked || ops == nil || ops[i].Outcome == OK
		isRepeated = isRepeated || t.tries > 1
	})
	var all []received
	known.find(got, func(i int, x *slot) {
		s.came[i] = -1
		if x.at == 0 {
			s.unexpected = append(s.unexpected, i)
			return
		}
		first := int32(x.at - 1)
		t := &of[first]
		if t.tries == 0 {
			s.refused = append(s.refused, i)
			return
		}
		t.times++
		isTooOften = isTooOften || t.times > t.tries
		if t.acked {
			s.seen++
		}
		switch {
		case isRepeated:
			all = append(all, received{i, first, t.times > 1})
		case t.times > 1:
			s.duplicated = append(s.duplicated, i)
		default:
			s.came[i] = int(t.last)
		}
	})
	if isRepeated {
		s.match(newMatching(element, sender, senders, s.sure, all), o, isTooOften)
	}
	return s
}

// How many steps back a search may take for an assignment that is allowed; for one that
// needs less to be allowed; and for what of a wrong history is right.
const (
	mostStepsBack = 1 << 20
	fewStepsBack  = 1 << 16
)

// match assigns what was received to attempts of which several are of one element: so that
// as little as can be has to be allowed. Where an element was received too often, or no
// assignment is allowed, it is one of which little is wrong.
func (s *sequence) match(m *matching, o SequenceOptions, isTooOften bool) {
	a := newAssignment(m)
	for _, allowed := range []SequenceOptions{{}, {Duplicates: true}, {Gaps: true}, {true, true}} {
		if allowed.Gaps && !o.Gaps || allowed.Duplicates && !o.Duplicates || isTooOften && !allowed.Duplicates {
			continue
		}
		m.SequenceOptions = allowed
		steps := fewStepsBack
		if allowed == o {
			steps = mostStepsBack
		}
		moves, decided := m.explain(0, &steps)
		switch {
		case len(moves) == len(m.received):
			a.take(moves)
			s.take(a)
			return
		case !decided && allowed == o:
			s.undecided = true
			return
		}
	}
	m.SequenceOptions = SequenceOptions{}
	for steps := fewStepsBack; ; {
		moves, _ := m.explain(len(a.came), &steps)
		a.take(moves)
		if len(a.came) == len(m.received) {
			break
		}
		s.atMost = s.atMost || steps == 0
		if move := m.leastWrong(len(a.came), &steps); move == passedOver {
			a.pass()
		} else {
			a.take([]int32{move})
		}
	}
	s.take(a)
}

// take takes over what an assignment has found.
func (s *sequence) take(a *assignment) {
	a.finish()
	for i, n := range a.came {
		place := a.m.received[i].place
		if s.came[place] = int(n); n < 0 {
			s.duplicated = append(s.duplicated, place)
		}
	}
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
	s.seen = len(all)
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
