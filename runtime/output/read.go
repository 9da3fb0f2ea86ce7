package output

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
)

// tailLine is how many bytes of a line Tail returns.
const tailLine = 500

// Line is one line that a node has written.
type Line struct {
	T      time.Duration // of the run, when its first byte was read
	Stream string        // "out" or "err"
	Text   string        // without its newline
	Ended  bool          // false where it may go on
}

// The two streams, for Query and Search.
const (
	Both   = ""
	Stdout = "out"
	Stderr = "err"
)

// piece is a line of the file.
type piece struct {
	t       time.Duration
	stream  int  // 0 or 1; none for the mark of an incarnation
	goesOn  bool // the line does, in the stream's next piece
	follows bool // it goes on with the line of the stream's last
	text    []byte
}

// parse undoes what Log writes; raw has no newline. It reports whether it is of
// that form.
func parse(raw []byte) (p piece, ok bool) {
	i := 0
	var micros int64
	for ; i < len(raw) && i < 12 && raw[i] >= '0' && raw[i] <= '9'; i++ {
		micros = micros*10 + int64(raw[i]-'0')
	}
	if i == 0 || len(raw) < i+8 || raw[i] != '.' || raw[i+7] != ' ' {
		return p, false
	}
	for _, c := range raw[i+1 : i+7] {
		if c < '0' || c > '9' {
			return p, false
		}
		micros = micros*10 + int64(c-'0')
	}
	p.t = time.Duration(micros) * time.Microsecond
	mark, text, ok := bytes.Cut(raw[i+8:], []byte(" "))
	if !ok {
		return p, false
	}
	p.text = text
	mark, p.follows = bytes.CutPrefix(mark, []byte("+"))
	mark, p.goesOn = bytes.CutSuffix(mark, []byte("+"))
	switch string(mark) {
	case "out":
	case "err":
		p.stream = 1
	case "---":
		p.stream = none
	default:
		return p, false
	}
	return p, true
}

// streamIndex is the number of a stream, none for both.
func streamIndex(name string) int { return slices.Index([]string{Stdout, Stderr}, name) }

func streamName(index int) string { return []string{Stdout, Stderr}[index] }

// piece is parse of what the file has at an offset.
func (l *Log) piece(raw []byte, off int64) (piece, error) {
	p, ok := parse(raw)
	if !ok {
		return p, l.spoil("has something else at byte %d than what was written", off)
	}
	return p, nil
}

// block is a part of the file that was read, from a place where a line begins.
type block struct {
	at int64
	b  []byte
}

// line returns the whole line of the file at an offset, without its newline, and
// where it ends. All before the limit is lines that change no more.
func (l *Log) line(k *block, off, limit int64) (raw []byte, end int64, err error) {
	for size := int64(blockSize); ; size *= 2 {
		if from := off - k.at; from >= 0 && from < int64(len(k.b)) {
			if i := bytes.IndexByte(k.b[from:], '\n'); i >= 0 {
				return k.b[from : from+int64(i)], off + int64(i) + 1, nil
			}
			if from == 0 && off+int64(len(k.b)) >= limit {
				return nil, off, l.spoil("has no line that ends between the bytes %d and %d", off, limit)
			}
		}
		n := int(min(size, limit-off))
		if cap(k.b) < n {
			k.b = make([]byte, n)
		}
		k.at, k.b = off, k.b[:n]
		if err := l.readAt(k.b, off); err != nil {
			k.b = nil
			return nil, off, err
		}
	}
}

// cursor is a place in the file from which lines are read on.
type cursor struct {
	off     int64
	started [2]int64 // where the line of each stream that is under way began; none where that is not known
}

func cursorAt(off int64) cursor { return cursor{off, [2]int64{none, none}} }

// found is a line in the file.
type found struct {
	piece        // its last; its text is the whole where the line has no other
	first  int64 // where it begins
	last   int64 // where its last piece begins
	end    int64 // where that ends
	inside bool  // it stands in pieces
}

// next reads to the end of the next line of a stream, or to the mark of an
// incarnation; false where there is none before the limit.
func (l *Log) next(k *block, c *cursor, limit int64) (found, bool, error) {
	for c.off < limit {
		raw, end, err := l.line(k, c.off, limit)
		if err != nil {
			return found{}, false, err
		}
		p, err := l.piece(raw, c.off)
		if err != nil {
			return found{}, false, err
		}
		off := c.off
		c.off = end
		switch {
		case p.stream == none:
			c.started = [2]int64{none, none}
			return found{piece: p, first: off, last: off, end: end}, true, nil
		case p.goesOn:
			if !p.follows {
				c.started[p.stream] = off
			}
			continue
		}
		f := found{piece: p, first: off, last: off, end: end, inside: p.follows}
		if p.follows {
			if f.first = c.started[p.stream]; f.first == none {
				if f.first, err = l.firstPiece(off, p.stream); err != nil {
					return found{}, false, err
				}
			}
		}
		c.started[p.stream] = none
		return f, true, nil
	}
	return found{}, false, nil
}

// firstPiece finds where the line begins that goes on in the piece at an offset.
func (l *Log) firstPiece(off int64, stream int) (first int64, err error) {
	first = off
	err = l.back(0, off, func(at int64, p piece) bool {
		switch {
		case p.stream == none, p.stream == stream && !p.goesOn:
			return false
		case p.stream == stream:
			first = at
			return p.follows
		}
		return true
	})
	return first, err
}

// back calls see with the pieces before end, the last one first, until it returns
// false, or the floor, where a line begins, is reached.
func (l *Log) back(floor, end int64, see func(off int64, p piece) bool) error {
	var b []byte
	for size := int64(blockSize); end > floor; {
		from := max(floor, end-size)
		b = slices.Grow(b[:0], int(end-from))[:end-from]
		if err := l.readAt(b, from); err != nil {
			return err
		}
		low := 0
		if from > floor { // it may have begun before
			low = bytes.IndexByte(b, '\n') + 1
			if low == len(b) || low == 0 {
				size *= 2
				continue
			}
		}
		for high := len(b); high > low; {
			at := low + bytes.LastIndexByte(b[low:high-1], '\n') + 1
			p, err := l.piece(b[at:high-1], from+int64(at))
			if err != nil || !see(from+int64(at), p) {
				return err
			}
			high = at
		}
		end, size = from+int64(low), blockSize
	}
	return nil
}

// since finds the first line of the file, from one place where a line begins to
// another, that was stamped at a time or after it.
func (l *Log) since(t time.Duration, from, limit int64) (int64, error) {
	var k block
	stamped := func(off int64) (bool, int64, error) {
		raw, end, err := l.line(&k, off, limit)
		if err != nil {
			return false, end, err
		}
		p, err := l.piece(raw, off)
		return p.t >= t, end, err
	}
	for high := limit; high-from > blockSize; {
		middle := from + (high-from)/2
		off, err := l.lineFrom(middle, high)
		if err != nil {
			return 0, err
		}
		if off == high {
			high = middle
			continue
		}
		switch isSince, _, err := stamped(off); {
		case err != nil:
			return 0, err
		case isSince:
			high = off
		default:
			from = off
		}
	}
	for from < limit {
		isSince, end, err := stamped(from)
		if err != nil || isSince {
			return from, err
		}
		from = end
	}
	return limit, nil
}

// stamped returns the time of the piece at an offset; a line of the file ends at the
// limit.
func (l *Log) stamped(off, limit int64) (time.Duration, error) {
	var k block
	raw, _, err := l.line(&k, off, limit)
	if err != nil {
		return 0, err
	}
	p, err := l.piece(raw, off)
	return p.t, err
}

// lineFrom finds the first place from an offset on where a line begins; limit if
// there is none before it.
func (l *Log) lineFrom(off, limit int64) (int64, error) {
	b := make([]byte, blockSize)
	for off--; off < limit; off += int64(len(b)) {
		b = b[:min(limit-off, blockSize)]
		if err := l.readAt(b, off); err != nil {
			return 0, err
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return off + int64(i) + 1, nil
		}
	}
	return limit, nil
}

// pieces calls see with the text of a stream's line, piece by piece, from where it
// begins to where its last piece ends.
func (l *Log) pieces(first, end int64, stream int, see func([]byte) bool) error {
	var k block
	for off := first; off < end; {
		raw, next, err := l.line(&k, off, end)
		if err != nil {
			return err
		}
		p, err := l.piece(raw, off)
		if err != nil || p.stream == stream && !see(p.text) {
			return err
		}
		off = next
	}
	return nil
}

// view is the log at one moment.
type view struct {
	start, fixed int64
	ended        bool
	lost         error        // why what was written then is not there, or nil
	unfinished   []unfinished // that of which something was read last comes last
}

// unfinished is a line that has not ended.
type unfinished struct {
	stream      int
	first, last int64
	t           time.Duration // of its first byte
	wrote       time.Duration
	open        []byte // its piece at the end of the file, if that is its
}

// detail is what a view has of the lines that have not ended.
type detail int

const (
	wholeLines detail = iota // nothing of them
	thatTheyAre
	theirText
)

// look takes a view.
func (l *Log) look(d detail) (v view, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v = view{start: l.start.Load(), fixed: l.fixed, ended: l.ended, lost: l.err}
	if d == wholeLines {
		return v, nil
	}
	for _, w := range []*stream{&l.out, &l.errs} {
		if w.first == none {
			continue
		}
		u := unfinished{stream: w.index, first: w.first, last: w.last, t: w.began, wrote: w.wrote}
		if l.open == w && d == theirText {
			raw := make([]byte, l.size-l.fixed)
			if err := l.readAt(raw, l.fixed); err != nil {
				return v, err
			}
			p, err := l.piece(raw, l.fixed)
			if err != nil {
				return v, err
			}
			u.open = p.text
		}
		v.unfinished = append(v.unfinished, u)
	}
	slices.SortFunc(v.unfinished, func(a, b unfinished) int { return cmp.Compare(a.last, b.last) })
	return v, nil
}

// each calls see with the text of a line that has not ended, piece by piece.
func (l *Log) each(v view, u unfinished, see func([]byte) bool) error {
	var k block
	more := true
	for off := u.first; off < v.fixed && more; {
		raw, next, err := l.line(&k, off, v.fixed)
		if err != nil {
			return err
		}
		p, err := l.piece(raw, off)
		if err != nil {
			return err
		}
		if p.stream == u.stream {
			more = see(p.text)
		}
		off = next
	}
	if more && u.open != nil {
		see(u.open)
	}
	return nil
}

// Query says which lines of the present incarnation are wanted.
type Query struct {
	Stream string        // Stdout, Stderr or Both
	Last   int           // how many from the end; 0 for all
	Since  time.Duration // those whose first byte was read then or later
}

// Text returns the lines that are wanted, each with its newline, in the order in
// which they ended; those that have not ended come last, and the last of them has
// no newline. It needs the memory of the text, and with Query.Last it reads no more
// of the file than those lines.
func (l *Log) Text(q Query) (string, error) {
	v, err := l.look(theirText)
	if err != nil {
		return "", err
	}
	var length int
	measure := func(text []byte) bool { length += len(text); return true }
	if err := l.lines(v, q, measure, func() { length++ }); err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(length)
	err = l.lines(v, q, func(text []byte) bool { b.Write(text); return true }, func() { b.WriteByte('\n') })
	return b.String(), err
}

// lines calls text with the pieces of the lines that are wanted, until it returns
// false for a line, and ended after each that is not the last unfinished one.
func (l *Log) lines(v view, q Query, text func([]byte) bool, ended func()) error {
	stream := streamIndex(q.Stream)
	wanted := func(s int) bool { return stream == none || s == stream }
	from := v.start
	var err error
	if q.Since > 0 {
		if from, err = l.since(q.Since, v.start, v.fixed); err != nil {
			return err
		}
	}
	v.unfinished = slices.DeleteFunc(slices.Clone(v.unfinished), func(u unfinished) bool {
		return !wanted(u.stream) || u.t < q.Since
	})
	floor := from
	if q.Last > 0 {
		left := q.Last - len(v.unfinished)
		v.unfinished = v.unfinished[max(0, -left):]
		from = v.fixed
		if left > 0 {
			var failed error
			err = l.back(floor, v.fixed, func(off int64, p piece) bool {
				if p.stream == none || p.goesOn || !wanted(p.stream) {
					return true
				}
				first := off
				if p.follows && q.Since > 0 {
					first, failed = l.firstPiece(off, p.stream)
				}
				if first >= floor {
					from = off
					left--
				}
				return left > 0 && failed == nil
			})
			if err = cmp.Or(err, failed); err != nil {
				return err
			}
		}
	}
	var k block
	for c := cursorAt(from); ; {
		f, ok, err := l.next(&k, &c, v.fixed)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.stream == none || !wanted(f.stream) || f.first < floor:
			continue
		case f.inside:
			if err := l.pieces(f.first, f.end, f.stream, text); err != nil {
				return err
			}
		default:
			text(f.text)
		}
		ended()
	}
	for i, u := range v.unfinished {
		if err := l.each(v, u, text); err != nil {
			return err
		}
		if i < len(v.unfinished)-1 {
			ended()
		}
	}
	return nil
}

// TailOf returns the last lines of an incarnation, at most n and each cut at 500 bytes,
// for an error to quote: none of one that never was.
func (l *Log) TailOf(incarnation, n int) []string {
	v, err := l.look(theirText)
	if err != nil || !l.narrow(&v, incarnation) {
		return nil
	}
	return l.tail(v, n)
}

// narrow makes a view that of an incarnation; false where there was none.
func (l *Log) narrow(v *view, incarnation int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range slices.Backward(l.begun) {
		if b.incarnation != incarnation {
			continue
		}
		if b.at < v.start { // what follows has begun, and ended its lines
			v.start, v.fixed, v.unfinished = b.at, l.begun[i+1].at, nil
		}
		return true
	}
	return false
}

// Tail is TailOf for the present incarnation.
func (l *Log) Tail(n int) []string {
	v, err := l.look(theirText)
	if err != nil {
		return nil
	}
	return l.tail(v, n)
}

func (l *Log) tail(v view, n int) []string {
	var lines []string
	var line []byte
	begun := false
	end := func() {
		if len(line) > tailLine {
			line = append(line[:tailLine], "…"...)
		}
		lines = append(lines, string(line))
		line, begun = line[:0], false
	}
	err := l.lines(v, Query{Last: n}, func(text []byte) bool {
		begun = true
		line = append(line, text[:min(len(text), tailLine+1)]...)
		return len(line) <= tailLine
	}, end)
	if err != nil {
		return nil
	}
	if begun {
		end()
	}
	return lines
}
