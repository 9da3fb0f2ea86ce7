package history

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sort"
)

// matching assigns what was received to attempts where several of those are of one element,
// any of which may have brought it. It looks for an assignment that SequenceOptions allow.
// That is to tell whether a list is a merge of others, for which no fast way is known: it
// tries one way after another, forgets none that led nowhere, and gives up after so many
// steps back as it may take.
//
// Attempts have positions: those of a sender follow each other in its order, up to an end,
// then come those of the next sender. Those that failed have none.
type matching struct {
	SequenceOptions
	received []received

	attempt  []int32     // of each position, -1 for an end
	element  []int32     // of each position, -1 for an end
	sender   []int32     // of each position
	sure     []bool      // of each position: it was acknowledged
	sures    []int32     // how many are before each position
	nextSure []int32     // of each position, the first from there on that is sure, or the end
	tail     [][2]uint64 // of each position, a hash of all from there on; alike senders have the same

	groups []int32 // the positions of each element, those of element e from first[e] to first[e+1]
	first  []int32
	runs   []run // of each of groups
	unsure []int32

	// What is so far. Of each sender, next is the first position that is sure and neither
	// done nor passed over; of each element, used is how many not sure before next were done.
	next   []int32
	used   map[int32]int32
	key    [2]uint64 // a hash of both
	failed map[[2]uint64]bool
	frames []frame
	moves  []int32   // those that frames can make
	times  [][]int32 // of each element when it is received, made where it is needed
}

// received is an element that was received, by its place among all that was.
type received struct {
	place   int
	element int32
	again   bool // it was received before, too
}

// run is where an entry of groups is in those of its element and its sender.
type run struct {
	end          int32 // where they end
	sure, unsure int32 // the first from the entry on that is sure, that is not, or the end
}

// frame is what can have brought what was received at one time: moves from to up to end, of
// which tried is the next one to try. Before the last one its sender's next was was.
type frame struct {
	from, tried, end int32
	was              int32
	key              [2]uint64
}

// Moves are the positions that brought what was received, or one of these.
const (
	anyUnsure = -1 // what is not sure, before next
	again     = -2 // what had brought the element before

	passedOver = -3 // what has no move: that came too late
)

// newMatching makes a matching of attempts, with the element, counted from 0, and the sender
// of each; an element is -1 where it failed.
func newMatching(element, sender []int32, senders int, sure func(n int) bool, got []received) *matching {
	m := &matching{received: got, used: map[int32]int32{}}
	begin := make([]int32, senders+1)
	for n, e := range element {
		if e >= 0 {
			begin[sender[n]+1]++
		}
	}
	for s := range senders {
		begin[s+1] += begin[s] + 1
	}
	length := begin[senders]
	m.attempt, m.element, m.sender = make([]int32, length), make([]int32, length), make([]int32, length)
	m.sure, m.nextSure, m.tail = make([]bool, length), make([]int32, length), make([][2]uint64, length)
	m.next = slices.Clone(begin[:senders])
	m.first = make([]int32, len(element)+1)
	for n, e := range element {
		if e < 0 {
			continue
		}
		at := m.next[sender[n]]
		m.next[sender[n]]++
		m.attempt[at], m.element[at], m.sender[at], m.sure[at] = int32(n), e, sender[n], sure(n)
		m.first[e+1]++
	}
	m.sures = make([]int32, length)
	for s, end := range m.next {
		m.attempt[end], m.element[end], m.sender[end] = -1, -1, int32(s)
	}
	for at := range length - 1 {
		m.sures[at+1] = m.sures[at]
		if m.sure[at] {
			m.sures[at+1]++
		}
	}
	for at := length - 1; at >= 0; at-- {
		m.nextSure[at] = at
		if m.attempt[at] < 0 {
			continue
		}
		word := uint64(m.element[at]) << 1
		if m.sure[at] {
			word++
		} else {
			m.nextSure[at] = m.nextSure[at+1]
		}
		for i := range m.tail[at] {
			m.tail[at][i] = mix(m.tail[at+1][i]+mix(word+1, i), i)
		}
	}
	m.group()
	for s := range m.next {
		m.next[s] = m.nextSure[begin[s]]
		m.add(m.tail[m.next[s]], 1)
	}
	return m
}

// group sorts the positions by element.
func (m *matching) group() {
	for e := range m.first[1:] {
		m.first[e+1] += m.first[e]
	}
	n := m.first[len(m.first)-1]
	m.groups, m.runs, m.unsure = make([]int32, n), make([]run, n), make([]int32, n+1)
	fill := slices.Clone(m.first)
	for at, e := range m.element {
		if e >= 0 {
			m.groups[fill[e]] = int32(at)
			fill[e]++
		}
	}
	for i, at := range m.groups {
		m.unsure[i+1] = m.unsure[i]
		if !m.sure[at] {
			m.unsure[i+1]++
		}
	}
	for i := n - 1; i >= 0; i-- {
		at := m.groups[i]
		r := run{i + 1, i + 1, i + 1}
		if i+1 < n && m.element[m.groups[i+1]] == m.element[at] && m.sender[m.groups[i+1]] == m.sender[at] {
			r = m.runs[i+1]
		}
		if m.sure[at] {
			r.sure = i
		} else {
			r.unsure = i
		}
		m.runs[i] = r
	}
}

// mix makes of numbers that differ by little such that differ by much; there are two ways.
func mix(x uint64, way int) uint64 {
	hi, lo := bits.Mul64(x+0x9e3779b97f4a7c15*uint64(way+1), [2]uint64{0xbf58476d1ce4e5b9, 0x94d049bb133111eb}[way])
	hi, lo = bits.Mul64(hi^lo, 0xd6e8feb86659fd93)
	return hi ^ lo
}

func (m *matching) add(hash [2]uint64, times uint64) {
	m.key[0] += hash[0] * times
	m.key[1] += hash[1] * times
}

// usedKey is what one more of an element that is used adds to the key.
func usedKey(e int32) [2]uint64 {
	return [2]uint64{mix(uint64(e)<<1|1, 1), mix(uint64(e)<<1|1, 0)}
}

// options adds to moves all that can have brought what was received at i. It leaves out
// what leaves no more open than another move: of senders that are to send the same from
// here on all but one, and what is sure before what is not, of one sender.
func (m *matching) options(i int) {
	r := m.received[i]
	from := len(m.moves)
	pool := -m.used[r.element]
	var skips, unsures []int32
	for k := m.first[r.element]; k < m.first[r.element+1]; {
		end, next := m.runs[k].end, m.next[m.sender[m.groups[k]]]
		j := k + int32(sort.Search(int(end-k), func(n int) bool { return m.groups[k+int32(n)] >= next }))
		pool += m.unsure[j] - m.unsure[k]
		k = end
		if j == end {
			continue
		}
		switch sure, unsure := m.runs[j].sure, m.runs[j].unsure; {
		case sure < end && m.groups[sure] == next:
			if !slices.ContainsFunc(m.moves[from:], func(at int32) bool { return m.tail[at] == m.tail[next] }) {
				m.moves = append(m.moves, next)
			}
		case m.Gaps:
			if sure < end {
				skips = append(skips, m.groups[sure])
			}
			if unsure < sure {
				unsures = append(unsures, m.groups[unsure])
			}
		}
	}
	exact := m.moves[from:]
	if len(exact) > 1 {
		slices.SortStableFunc(exact, func(a, b int32) int { return cmp.Compare(m.soonest(i, a), m.soonest(i, b)) })
	}
	switch {
	case len(exact) > 0 && r.again && m.Duplicates && m.Gaps: // it may as well be again, and passed over
		m.moves = m.moves[:from+1]
	case len(exact) > 0:
	case r.again && m.Duplicates:
		m.moves = append(m.moves, again)
	case pool > 0:
		m.moves = append(m.moves, anyUnsure)
	default:
		m.moves = append(m.moves, unsures...)
	}
	if !r.again || !m.Duplicates {
		m.moves = append(m.moves, skips...)
	}
}

// soonest is when what its sender sent after a position is received after i. A sender that
// waits for what comes soon is likely the one that has gone on.
func (m *matching) soonest(i int, at int32) int32 {
	e := m.element[m.nextSure[at+1]]
	if e < 0 {
		return math.MaxInt32
	}
	times := m.timesOf(e)
	if n := sort.Search(len(times), func(n int) bool { return int(times[n]) > i }); n < len(times) {
		return times[n]
	}
	return math.MaxInt32
}

// timesOf are the times when an element was received.
func (m *matching) timesOf(e int32) []int32 {
	if m.times == nil {
		m.times = make([][]int32, len(m.first))
		for i, r := range m.received {
			m.times[r.element] = append(m.times[r.element], int32(i))
		}
	}
	return m.times[e]
}

// do does a move, and returns what undoes it.
func (m *matching) do(i int, move int32) (was int32) {
	switch {
	case move >= 0:
		s := m.sender[move]
		was = m.next[s]
		m.goOn(s, max(was, m.nextSure[move+1]))
		if !m.sure[move] {
			m.use(m.received[i].element, 1)
		}
	case move == anyUnsure:
		m.use(m.received[i].element, 1)
	}
	return was
}

func (m *matching) undo(i int, move, was int32) {
	switch {
	case move >= 0:
		m.goOn(m.sender[move], was)
		if !m.sure[move] {
			m.use(m.received[i].element, -1)
		}
	case move == anyUnsure:
		m.use(m.received[i].element, -1)
	}
}

func (m *matching) goOn(sender, next int32) {
	m.add(m.tail[m.next[sender]], ^uint64(0))
	m.next[sender] = next
	m.add(m.tail[next], 1)
}

// use counts what is not sure. Where an element may come again that is of no use.
func (m *matching) use(e, times int32) {
	if m.Duplicates {
		return
	}
	m.used[e] += times
	m.add(usedKey(e), uint64(int64(times)))
}

// explain looks for moves for all that was received from a time on, with at most so many
// steps back. If it finds none it returns those that reach farthest, and whether that is
// because there are none. What is so far is as it was.
func (m *matching) explain(from int, stepsBack *int) (moves []int32, decided bool) {
	m.failed, m.frames, m.moves = map[[2]uint64]bool{}, m.frames[:0], m.moves[:0]
	kept := 0 // so many of moves are those of the frames
	last := func(depth int) int32 { return m.moves[m.frames[depth].tried-1] }
	keep := func() {
		if depth := len(m.frames) - 1; depth > len(moves) {
			moves = moves[:kept]
			for ; kept < depth; kept++ {
				moves = append(moves, last(kept))
			}
		}
	}
	isBack := false
	for {
		depth := len(m.frames)
		if !isBack {
			begin := int32(len(m.moves))
			f := frame{from: begin, tried: begin, end: begin}
			if from+depth < len(m.received) {
				m.options(from + depth)
				f.end = int32(len(m.moves))
			}
			if f.end-f.from > 1 {
				f.key = [2]uint64{m.key[0] + mix(uint64(depth), 0), m.key[1] + mix(uint64(depth), 1)}
				if m.failed[f.key] {
					f.tried = f.end
				}
			}
			m.frames = append(m.frames, f)
			depth++
		}
		f := &m.frames[depth-1]
		isEnd := from+depth-1 == len(m.received)
		if f.tried < f.end {
			f.tried++
			f.was = m.do(from+depth-1, m.moves[f.tried-1])
			isBack = false
			continue
		}
		keep()
		if isEnd || depth == 1 || *stepsBack == 0 {
			decided = isEnd || depth == 1
			break
		}
		if f.end-f.from > 1 {
			m.failed[f.key] = true
		}
		*stepsBack--
		m.moves = m.moves[:f.from]
		m.frames = m.frames[:depth-1]
		f = &m.frames[depth-2]
		m.undo(from+depth-2, last(depth-2), f.was)
		kept = min(kept, depth-2)
		isBack = true
	}
	for depth := len(m.frames) - 2; depth >= 0; depth-- {
		m.undo(from+depth, last(depth), m.frames[depth].was)
	}
	return moves, decided
}

// How many moves that pass over attempts are tried where none is right, and how much more has
// to be right after one that makes one more wrong.
const (
	mostTried    = 8
	reachOfWrong = 20
)

// leastWrong is the move for what was received at i, where none is right: the one after which
// the most is, for what it makes wrong.
func (m *matching) leastWrong(i int, steps *int) int32 {
	o := m.SequenceOptions
	m.Gaps, m.moves = true, m.moves[:0]
	m.options(i)
	m.SequenceOptions = o
	moves := slices.Clone(m.moves)
	slices.SortStableFunc(moves, func(a, b int32) int {
		return cmp.Compare(a-m.next[m.sender[a]], b-m.next[m.sender[b]])
	})
	moves = append(moves[:min(len(moves), mostTried)], passedOver)
	if m.received[i].again {
		moves = append(moves, again)
	}
	best, most := int32(passedOver), math.MinInt
	for _, move := range moves {
		was := m.do(i, move)
		after, _ := m.explain(i+1, steps)
		m.undo(i, move, was)
		wrong := 1
		if move >= 0 {
			wrong += int(max(0, m.sures[move]-m.sures[was]))
		}
		if score := len(after) - reachOfWrong*wrong; score > most {
			best, most = move, score
		}
	}
	return best
}

// assignment is what has brought what was received.
type assignment struct {
	m      *matching
	came   []int32           // of what was received so far the attempts, or -1 for one that had come before
	unsure map[int32][]int32 // of each element, attempts that are not sure and may bring it from now on
	passed []int             // what no move brings, of received
}

func newAssignment(m *matching) *assignment {
	a := &assignment{m: m, came: make([]int32, 0, len(m.received)), unsure: map[int32][]int32{}}
	at := int32(0)
	for _, next := range m.next {
		a.release(at, next, -1)
		for at = next; m.attempt[at] >= 0; at++ {
		}
		at++
	}
	return a
}

// take makes moves for good.
func (a *assignment) take(moves []int32) {
	m := a.m
	for _, move := range moves {
		i, n := len(a.came), int32(-1)
		if move >= 0 {
			s := m.sender[move]
			from := m.next[s]
			m.do(i, move)
			n = m.attempt[move]
			a.release(from, m.next[s], move)
		} else {
			m.do(i, move)
			if e := m.received[i].element; len(a.unsure[e]) > 0 {
				n, a.unsure[e] = a.unsure[e][0], a.unsure[e][1:]
			}
		}
		a.came = append(a.came, n)
	}
}

// release has the attempts that are not sure at some positions, but one, bring what is
// received from now on.
func (a *assignment) release(from, to, except int32) {
	for at := from; at < to; at++ {
		if at != except && !a.m.sure[at] {
			e := a.m.element[at]
			a.unsure[e] = append(a.unsure[e], a.m.attempt[at])
		}
	}
}

// pass passes over what is received next.
func (a *assignment) pass() {
	a.passed = append(a.passed, len(a.came))
	a.came = append(a.came, -1)
}

// finish has what was passed over be brought by an attempt that was not done; without
// one, the first of an element by the one that has brought another later.
func (a *assignment) finish() {
	if len(a.passed) == 0 {
		return
	}
	done := map[int32]bool{}
	for _, n := range a.came {
		done[n] = true
	}
	m, left := a.m, map[int32][]int32{} // of each element, attempts of which some are not done, those that are sure first
	for _, i := range a.passed {
		e := m.received[i].element
		tries, ok := left[e]
		if !ok {
			group := m.groups[m.first[e]:m.first[e+1]]
			for _, sure := range []bool{true, false} {
				for _, at := range group {
					if m.sure[at] == sure {
						tries = append(tries, m.attempt[at])
					}
				}
			}
		}
		for len(tries) > 0 && done[tries[0]] {
			tries = tries[1:]
		}
		if left[e] = tries; len(tries) > 0 {
			a.came[i], done[tries[0]] = tries[0], true
			continue
		}
		for _, later := range m.timesOf(e) {
			if a.came[i] < 0 && !m.received[i].again && a.came[later] >= 0 {
				a.came[i], a.came[later] = a.came[later], -1
			}
		}
	}
}
