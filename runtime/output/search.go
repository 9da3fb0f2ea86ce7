package output

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"time"
)

const (
	// MaxMatched is how many bytes of a line a pattern is matched with, and a search
	// returns. What follows in the line is in the file.
	MaxMatched = 16 << 20
	// standsAfter is how long nothing was added to a line that has not ended before
	// it is looked at as it stands: a line comes in pieces as a rule, by the node's
	// buffers or by ours, and its rest is there at once.
	standsAfter = 100 * time.Millisecond
)

// From says where a search begins.
type From struct {
	Now bool          // with the lines that end from now on
	T   time.Duration // with those whose first byte was read then or later
}

// Search looks for a line of a node's present incarnation that a pattern matches:
// the first that no search with the same pattern has taken yet. A line that has not
// ended is looked at too, once it has stood for 100 ms; it is left alone if a group
// of the pattern would match more of it if it went on, such as a number at its end.
//
// A match is taken by Take. Between Met and Take or Stop it is kept for the search.
type Search struct {
	l       *Log
	pattern *regexp.Regexp
	stream  int // none for both
	from    From
	start   int64    // of the incarnation
	least   cursor   // where From is
	nowAt   [2]int64 // how far the lines under way had come then
	recheck func()

	// The log's searching guards these.
	taken   *taken
	turn    int // it is another after each restart
	at      cursor
	stoodAt [2]int64 // how far the lines under way had come when they were looked at
	kept    bool     // the match is kept for it
	state   state
	told    state // what recheck has been called for
}

// state is what a search has found.
type state struct {
	match     *match
	over      bool // there is no more to look at
	restarted bool // because another incarnation has begun
	err       error
}

func (s state) done() bool { return s.match != nil || s.over || s.err != nil }

// match is a line that was found.
type match struct {
	Line
	stream     int
	first, end int64
	after      cursor
	isFreed    bool // it was among those that were freed
}

// taken are the lines that the searches with one pattern have taken, or keep.
type taken struct {
	spans [2][]span         // of each stream, in order; none touches another
	kept  [2]map[int64]bool // lines of each that are not in a span as well, by where they begin
	freed []*match          // those among kept that no search has, as the one that had it gave it up
}

// span is a part of the file in which no line of a stream is left that a pattern
// matches: of those that begin and end in it, each has been taken or is kept.
type span struct {
	from int64
	to   cursor
}

// lineTaken reports whether a search has a line, or has had it.
func (t *taken) lineTaken(stream int, first, end int64) bool {
	i := t.spanAt(stream, first)
	return i >= 0 && end <= t.spans[stream][i].to.off || t.kept[stream][first]
}

// spanAt finds the span of a stream that an offset is in; none if there is none.
func (t *taken) spanAt(stream int, off int64) int {
	spans := t.spans[stream]
	i := sort.Search(len(spans), func(i int) bool { return spans[i].from > off }) - 1
	if i >= 0 && off < spans[i].to.off {
		return i
	}
	return none
}

// add takes the lines of a stream in a span. Those that began before last have ended.
func (t *taken) add(stream int, s span, last int64) {
	spans := t.spans[stream]
	i := sort.Search(len(spans), func(i int) bool { return spans[i].to.off >= s.from })
	j := i
	for ; j < len(spans) && spans[j].from <= s.to.off; j++ {
		s.from = min(s.from, spans[j].from)
		if spans[j].to.off > s.to.off {
			s.to = spans[j].to
		}
	}
	t.spans[stream] = slices.Replace(spans, i, j, s)
	for first := range t.kept[stream] { // the span tells of it now
		if first >= s.from && first < last {
			delete(t.kept[stream], first)
		}
	}
}

// skip goes on from a place to the first that is not in the spans of a stream, or of
// both.
func (t *taken) skip(stream int, at cursor) cursor {
	to := at
	for i := range t.spans {
		if stream != none && stream != i {
			continue
		}
		k := t.spanAt(i, at.off)
		if k < 0 {
			return at
		}
		if end := t.spans[i][k].to; to.off == at.off || end.off < to.off {
			to = end
		}
	}
	return to
}

// Search begins to look in the lines that there are, and gives up after some: see
// Follow and Finish.
func (l *Log) Search(pattern *regexp.Regexp, stream string, from From) *Search {
	s := &Search{l: l, pattern: pattern, stream: streamIndex(stream), from: from}
	s.begin()
	s.lookAtBlock()
	return s
}

// begin sets the search to where it begins in the log's present incarnation.
func (s *Search) begin() {
	l := s.l
	v, err := l.look(theirText)
	s.start, s.nowAt = v.start, [2]int64{none, none}
	s.least = cursorAt(v.start)
	if err == nil && s.from.T > 0 {
		var off int64
		off, err = l.since(s.from.T, v.start, v.fixed)
		s.least = cursorAt(off)
	}
	if s.from.Now {
		s.least = cursorAt(v.fixed)
		for _, u := range v.unfinished {
			s.nowAt[u.stream] = u.last
			if u.open == nil || u.first < v.fixed {
				s.least.started[u.stream] = u.first
			}
		}
	}
	l.searching.Lock()
	defer l.searching.Unlock()
	if err != nil {
		s.fail(err)
		return
	}
	s.taken = l.taken[s.pattern.String()]
	if s.taken == nil {
		s.taken = &taken{kept: [2]map[int64]bool{{}, {}}}
		l.taken[s.pattern.String()] = s.taken
	}
	s.restart()
}

// The searching lock is held for restart, fail, free and next.

func (s *Search) fail(err error) { s.state.err = fmt.Errorf("cannot read its output back: %w", err) }

// restart has the search look again from where it may begin.
func (s *Search) restart() {
	s.turn++
	s.stoodAt = s.nowAt
	s.state, s.told = state{err: s.state.err}, state{}
	for _, m := range s.taken.freed {
		if s.wants(m.stream) && m.T >= s.from.T && (!s.from.Now || m.end > s.least.off) {
			s.state.match = m
			return
		}
	}
	s.at = s.taken.skip(s.stream, s.least)
}

func (s *Search) wants(stream int) bool { return s.stream == none || s.stream == stream }

// lookAtBlock looks at some of the lines that follow, and reports whether there are
// more.
func (s *Search) lookAtBlock() (more bool) {
	l := s.l
	l.reading.Lock()
	defer l.reading.Unlock()
	v, err := l.look(wholeLines)
	l.searching.Lock()
	c, turn, done := s.at, s.turn, s.state.done()
	l.searching.Unlock()
	if done {
		return false
	}
	var m *match
	mark := false
	began := c.off
	for err == nil && m == nil && !mark && c.off-began < blockSize {
		var f found
		var ok bool
		if f, ok, err = l.next(&l.block, &c, v.fixed); err != nil || !ok {
			break
		}
		if f.stream == none {
			mark = f.first > s.start
			continue
		}
		if !s.wants(f.stream) || s.from.T > 0 && f.first < s.least.off {
			continue
		}
		text := f.text
		if f.inside {
			text, err = l.gather(func(see func([]byte) bool) error { return l.pieces(f.first, f.end, f.stream, see) })
		}
		if err != nil || !s.pattern.Match(text) {
			continue
		}
		l.searching.Lock()
		free := !s.taken.lineTaken(f.stream, f.first, f.end)
		l.searching.Unlock()
		if free {
			t := f.t
			if f.inside {
				t, err = l.stamped(f.first, f.end)
			}
			m = &match{Line: Line{t, streamName(f.stream), string(text), true}, stream: f.stream, first: f.first, end: f.end, after: c}
		}
	}
	if c.off >= v.fixed {
		l.block = block{} // of many nodes most are silent
	}
	l.searching.Lock()
	defer l.searching.Unlock()
	if turn != s.turn {
		return true
	}
	if err != nil {
		s.fail(err)
		return false
	}
	s.at, s.state.match, s.state.restarted = c, m, mark
	if m == nil && !mark && v.lost != nil && c.off >= v.fixed {
		s.state.err = fmt.Errorf("what it wrote is lost: %w", v.lost)
	}
	s.state.over = mark || m == nil && v.ended && v.start == s.start && c.off >= v.fixed
	return !s.state.done() && c.off < v.fixed
}

// gather makes one text of pieces, as much as is matched.
func (l *Log) gather(pieces func(func([]byte) bool) error) ([]byte, error) {
	text := l.long[:0]
	err := pieces(func(p []byte) bool {
		text = append(text, p[:min(len(p), MaxMatched-len(text))]...)
		return len(text) < MaxMatched
	})
	if l.long = text; cap(text) > 2*maxPiece {
		l.long = nil
	}
	return text, err
}

// lookAtStanding looks at the lines that have not ended: those that have stood for
// the time that it takes, or all. It returns how long to wait for the next, 0 where
// there is none to wait for.
func (s *Search) lookAtStanding(all bool) (wait time.Duration) {
	l := s.l
	l.reading.Lock()
	defer l.reading.Unlock()
	v, err := l.look(thatTheyAre)
	now := l.logs.now()
	l.searching.Lock()
	c, turn, stoodAt, done := s.at, s.turn, s.stoodAt, s.state.done()
	l.searching.Unlock()
	if done || v.start != s.start {
		return 0
	}
	stands := false
	for _, u := range v.unfinished {
		if !s.wants(u.stream) || u.last <= stoodAt[u.stream] {
			continue
		}
		left := standsAfter - (now - u.wrote)
		stands = stands || all || left <= 0
		if left > 0 && (wait == 0 || left < wait) {
			wait = left
		}
	}
	if !stands {
		return wait
	}
	if err == nil {
		v, err = l.look(theirText)
	}
	if v.start != s.start {
		return 0
	}
	var m *match
	for _, u := range v.unfinished {
		if err != nil || m != nil {
			break
		}
		if !s.wants(u.stream) || u.last <= stoodAt[u.stream] {
			continue
		}
		if now-u.wrote < standsAfter && !all { // something was added meanwhile
			continue
		}
		l.searching.Lock()
		free := !s.taken.lineTaken(u.stream, u.first, u.last)
		l.searching.Unlock()
		stoodAt[u.stream] = u.last
		if !free {
			continue
		}
		if u.t < s.from.T {
			continue
		}
		var text []byte
		text, err = l.gather(func(see func([]byte) bool) error { return l.each(v, u, see) })
		if err == nil && standing(s.pattern, text) {
			m = &match{Line: Line{u.t, streamName(u.stream), string(text), false}, stream: u.stream, first: u.first, end: u.last, after: c}
		}
	}
	l.searching.Lock()
	defer l.searching.Unlock()
	if turn != s.turn {
		return wait
	}
	if err != nil {
		s.fail(err)
	}
	s.stoodAt, s.state.match = stoodAt, m
	return wait
}

// Follow has the log look for the search at what comes. recheck is called, without
// a lock, each time that Met, Over or Err may say something new, but for what they
// say now. Until Met is true or Stop is called the log has a goroutine.
func (s *Search) Follow(recheck func()) {
	l := s.l
	if l.start.Load() != s.start { // it was restarted since
		s.begin()
	}
	l.searching.Lock()
	defer l.searching.Unlock()
	s.recheck = recheck
	if s.told = s.state; !s.state.done() {
		s.follow()
	}
}

// follow is Follow. The searching lock is held.
func (s *Search) follow() {
	l := s.l
	if !slices.Contains(l.searches, s) {
		l.searches = append(l.searches, s)
	}
	if !l.follows {
		l.follows = true
		l.logs.following.Go(l.follow)
	}
	l.changed()
}

// follow looks for the searches until there are none, or the log is closed.
func (l *Log) follow() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		l.searching.Lock()
		searches := slices.Clone(l.searches)
		if closed || len(searches) == 0 {
			l.follows = false
			l.searching.Unlock()
			return
		}
		l.searching.Unlock()
		wait := time.Hour
		for _, s := range searches {
			if left := s.lookOn(); left > 0 {
				wait = min(wait, left)
			}
		}
		timer.Reset(wait)
		select {
		case <-l.news:
		case <-timer.C:
		}
	}
}

// lookOn looks at all that there is, and tells who waits for the search of what it
// has found. It returns how long to wait before it is worth to look again, 0 for as
// long as nothing is written.
func (s *Search) lookOn() (wait time.Duration) {
	l := s.l
	s.lookAtBlocks()
	wait = s.lookAtStanding(false)
	l.searching.Lock()
	isNew := s.state != s.told
	s.told = s.state
	l.searching.Unlock()
	if isNew {
		s.recheck()
	}
	return wait
}

// lookAtBlocks looks at the lines that there are now.
func (s *Search) lookAtBlocks() {
	v, _ := s.l.look(wholeLines)
	for s.lookAtBlock() {
		s.l.searching.Lock()
		over := s.at.off >= v.fixed
		s.l.searching.Unlock()
		if over {
			return
		}
	}
}

// Finish looks at all that there is, lines that have not ended as they stand.
func (s *Search) Finish() {
	s.lookAtBlocks()
	s.lookAtStanding(true)
}

// Met reports whether a line has been found, and keeps it for the search.
func (s *Search) Met() bool {
	l := s.l
	l.searching.Lock()
	defer l.searching.Unlock()
	for m := s.state.match; m != nil && !s.kept; m = s.state.match {
		if i := slices.Index(s.taken.freed, m); i >= 0 {
			s.taken.freed = slices.Delete(s.taken.freed, i, i+1)
		} else if s.taken.lineTaken(m.stream, m.first, m.end) { // another was quicker
			if s.restart(); s.state.match == nil {
				s.follow()
			}
			continue
		}
		s.kept = true
		s.taken.kept[m.stream][m.first] = true
		l.forget(s)
	}
	return s.kept
}

// forget ends the looking for a search. The searching lock is held.
func (l *Log) forget(s *Search) {
	l.searches = slices.DeleteFunc(l.searches, func(x *Search) bool { return x == s })
	l.changed()
}

// Over reports whether no line can be found any more: the incarnation has written
// all that it has, or has been followed by another.
func (s *Search) Over() (over, restarted bool) {
	s.l.searching.Lock()
	defer s.l.searching.Unlock()
	return s.state.over && s.state.match == nil, s.state.restarted
}

// Err returns why the search cannot go on, or nil: the log cannot be read back, or could
// not be written, and nothing is found in what it has.
func (s *Search) Err() error {
	s.l.searching.Lock()
	defer s.l.searching.Unlock()
	return s.state.err
}

// Take takes the line that was found, so that no other search with the pattern
// finds it. Met must have reported true.
func (s *Search) Take() Line {
	s.l.searching.Lock()
	defer s.l.searching.Unlock()
	m, t := s.state.match, s.taken
	s.kept = false
	if m.isFreed { // there may be others before it, which nobody has looked at
		return m.Line
	}
	for i := range t.spans {
		if s.wants(i) && m.after.off > s.least.off {
			last := int64(0)
			if i == m.stream { // what else is under way there is not known
				last = m.first
			}
			t.add(i, span{s.least.off, m.after}, last)
		}
	}
	if t.kept[m.stream][m.first] = true; m.Ended && m.first >= s.least.off {
		delete(t.kept[m.stream], m.first) // it is in the span
	}
	return m.Line
}

// Stop gives the search up, and the line that is kept for it, if it was not taken.
func (s *Search) Stop() {
	l := s.l
	l.searching.Lock()
	defer l.searching.Unlock()
	l.forget(s)
	if !s.kept {
		return
	}
	s.kept = false
	m, t := s.state.match, s.taken
	delete(t.kept[m.stream], m.first)
	if m.Ended || t.lineTaken(m.stream, m.first, m.end) { // or it is found again, as it is then
		m.isFreed = true
		t.kept[m.stream][m.first] = true
		t.freed = append(t.freed, m)
	}
	for _, other := range l.searches {
		if other.taken == t && other.state.match == nil {
			other.restart()
		}
	}
}
