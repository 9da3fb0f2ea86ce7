package output

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func realLog(t testing.TB) *Log {
	began := time.Now()
	l, _ := newLog(t, func() time.Duration { return time.Since(began) })
	l.Begin(1)
	return l
}

// wait waits for a search as the journal does; false where it is over without a
// match.
func wait(t testing.TB, s *Search) bool {
	t.Helper()
	again := make(chan struct{}, 1)
	s.Follow(func() {
		select {
		case again <- struct{}{}:
		default:
		}
	})
	for !s.Met() {
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if over, _ := s.Over(); over {
			s.Stop()
			return false
		}
		select {
		case <-again:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was found")
		}
	}
	return true
}

func get(t testing.TB, l *Log, pattern, stream string, from From) string {
	t.Helper()
	s := l.Search(regexp.MustCompile(pattern), stream, from)
	if !wait(t, s) {
		return "over"
	}
	return s.Take().Text
}

// TestTaken: a line is returned once for a pattern, whatever streams are asked for.
func TestTaken(t *testing.T) {
	l := realLog(t)
	fmt.Fprint(l.Stdout(), "a1\na2\n")
	fmt.Fprint(l.Stderr(), "a3\na4\n")
	fmt.Fprint(l.Stdout(), "a5\nb\n")
	l.End()
	for _, step := range [][3]string{
		{"^a", Stderr, "a3"}, {"^a", Both, "a1"}, {"^a", Stdout, "a2"}, {"^a.", Both, "a1"}, {"^a", Both, "a4"},
		{"^a", Both, "a5"}, {"^a", Both, "over"}, {"^a", Stdout, "over"}, {"b", Stdout, "b"}, {"b", Stderr, "over"},
	} {
		if got := get(t, l, step[0], step[1], From{}); got != step[2] {
			t.Errorf("%q of %q: %q, want %q", step[0], step[1], got, step[2])
		}
	}
	l.Begin(2)
	l.End()
	if got := get(t, l, "^a", Both, From{}); got != "over" {
		t.Errorf("of another incarnation: %q", got)
	}
}

// TestKept: a match that is not taken is the next search's, also where later lines
// were taken meanwhile.
func TestKept(t *testing.T) {
	l := realLog(t)
	search := func() *Search { return l.Search(regexp.MustCompile("x"), Both, From{}) }
	fmt.Fprint(l.Stdout(), "x1\nx2\nx3\n")
	a, b := search(), search()
	if !wait(t, a) || !wait(t, b) {
		t.Fatal("not met")
	}
	c := search()
	if !wait(t, c) {
		t.Fatal("not met")
	}
	if got := b.Take().Text + c.Take().Text; got != "x2x3" {
		t.Errorf("%q", got)
	}
	d := search()
	met := make(chan struct{})
	var once sync.Once
	d.Follow(func() {
		if d.Met() {
			once.Do(func() { close(met) })
		}
	})
	a.Stop()
	<-met
	if got := d.Take().Text; got != "x1" {
		t.Errorf("%q", got)
	}
	fmt.Fprint(l.Stdout(), "x4\n")
	a = search()
	wait(t, a)
	a.Stop()
	a.Stop()
	if got := get(t, l, "x", Both, From{}); got != "x4" {
		t.Errorf("%q", got)
	}
}

// TestPrompt: a line that has not ended is found once it stands, as one and as a
// whole, also where the other stream writes on.
func TestPrompt(t *testing.T) {
	l := realLog(t)
	fmt.Fprint(l.Stdout(), "Password? ")
	stop := make(chan struct{})
	var chatter sync.WaitGroup
	chatter.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				fmt.Fprintln(l.Stderr(), "chatter")
			}
		}
	})
	s := l.Search(regexp.MustCompile(`Password\? $`), Both, From{})
	wait(t, s)
	if line := s.Take(); line.Text != "Password? " || line.Ended || line.Stream != Stdout {
		t.Errorf("%+v", line)
	}
	close(stop)
	chatter.Wait()
	whole := l.Search(regexp.MustCompile("Password.*secret"), Both, From{})
	fmt.Fprint(l.Stdout(), "secret\n")
	wait(t, whole)
	if line := whole.Take(); line.Text != "Password? secret" || !line.Ended {
		t.Errorf("%+v", line)
	}
	fmt.Fprint(l.Stdout(), "Password? \n")
	l.End()
	s = l.Search(regexp.MustCompile(`Password\? `), Both, From{Now: true})
	if wait(t, s) {
		t.Errorf("what had ended before was found: %+v", s.Take())
	}
	if got := get(t, l, `Password\? $`, Both, From{}); got != "Password? " {
		t.Errorf("%q", got)
	}
}

// TestNow: what has ended is skipped; a line that goes on, and a piece of it, are not.
func TestNow(t *testing.T) {
	l := realLog(t)
	fmt.Fprint(l.Stdout(), "tick 1\ntick ")
	fmt.Fprint(l.Stderr(), "tick ")
	s := l.Search(regexp.MustCompile("tick"), Both, From{Now: true})
	s.Finish()
	if s.Met() {
		t.Fatalf("%+v", s.Take())
	}
	fmt.Fprint(l.Stdout(), "2\n")
	s.Finish()
	if !s.Met() || s.Take().Text != "tick 2" {
		t.Error("the line that went on was not found")
	}
}

// TestSince: lines from a time on.
func TestSince(t *testing.T) {
	l, _ := newLog(t, ticks())
	l.Begin(1)
	for i := range 10_000 {
		fmt.Fprintf(l.Stdout(), "line %d\n", i)
	}
	at := 3*time.Millisecond + 7654*1500*time.Microsecond
	s := l.Search(regexp.MustCompile("line"), Both, From{T: at})
	if !s.Met() {
		t.Fatal("not met")
	}
	if line := s.Take(); line.Text != "line 7654" || line.T != at {
		t.Errorf("%+v", line)
	}
	if got := get(t, l, "line", Both, From{T: at}); got != "line 7655" {
		t.Errorf("%q", got)
	}
}

// TestSincePieces: the time of a line is that of its first byte, whether or not the other
// stream wrote before it had ended.
func TestSincePieces(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		l, _ := newLog(t, ticks())
		l.Begin(1)
		fmt.Fprint(l.Stdout(), "load")
		mark := l.logs.now()
		if interrupted {
			fmt.Fprintln(l.Stderr(), "careful")
		}
		fmt.Fprint(l.Stdout(), "ed\nlast ")
		since := l.Search(regexp.MustCompile("loaded"), Both, From{T: mark})
		if since.Finish(); since.Met() {
			t.Errorf("interrupted %v: what began before was found", interrupted)
		}
		for _, q := range []Query{{Since: mark, Stream: Stdout}, {Since: mark, Stream: Stdout, Last: 5}} {
			if got := text(t, l, q); got != "last " {
				t.Errorf("interrupted %v, %+v: %q", interrupted, q, got)
			}
		}
		if s := l.Search(regexp.MustCompile("loaded"), Both, From{}); !s.Met() || s.Take().T != 3*time.Millisecond {
			t.Errorf("interrupted %v: not found, or at another time than its first byte's", interrupted)
		}
		if interrupted {
			fmt.Fprintln(l.Stderr(), "again")
			fmt.Fprint(l.Stdout(), "one")
		}
		began := l.out.began
		if s := l.Search(regexp.MustCompile("last"), Both, From{T: began}); interrupted {
			if s.Finish(); !s.Met() || s.Take().T != began {
				t.Error("a line under way was not found by the time of its first byte")
			}
		}
	}
}

// TestSinceLeaves: a search that begins later leaves what is before to those that do not,
// and none returns what another has had.
func TestSinceLeaves(t *testing.T) {
	l, _ := newLog(t, ticks())
	l.Begin(1)
	for i := range 10 {
		fmt.Fprintf(l.Stdout(), "line %d\n", i)
	}
	fmt.Fprint(l.Stderr(), "line under way")
	from := func(i int) From { return From{T: 3*time.Millisecond + time.Duration(i)*1500*time.Microsecond} }
	expect := func(f From, stream, want string) {
		t.Helper()
		if got := get(t, l, "line", stream, f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	now := l.Search(regexp.MustCompile("line"), Both, From{Now: true})
	fmt.Fprint(l.Stdout(), "line 10\nline 11\n")
	if now.Finish(); !now.Met() || now.Take().Text != "line 10" {
		t.Error("the first from now on was not found")
	}
	expect(from(3), Both, "line 3")
	expect(from(6), Both, "line 6")
	expect(from(3), Stdout, "line 4")
	expect(From{}, Both, "line 0")
	expect(from(3), Both, "line 5")
	fmt.Fprint(l.Stderr(), " and ended\n")
	expect(From{}, Stderr, "line under way and ended")
	for _, want := range []string{"line 1", "line 2", "line 7", "line 8", "line 9", "line 11"} {
		expect(From{}, Both, want)
	}
	l.End()
	expect(From{}, Both, "over")
	expect(from(1), Both, "over")
	if taken := l.taken["line"]; len(taken.spans[0]) != 1 || len(taken.kept[0])+len(taken.kept[1]) > 1 {
		t.Errorf("%+v", taken)
	}
}

// TestEndStream: a stream that has ended has ended its line, beside one that has not.
func TestEndStream(t *testing.T) {
	l, path := newLog(t, ticks())
	l.Begin(1)
	fmt.Fprint(l.Stdout(), "port 80")
	fmt.Fprint(l.Stderr(), "warn")
	s := l.Search(regexp.MustCompile(`port (\d+)`), Both, From{})
	if s.Finish(); s.Met() {
		t.Fatal("it may go on")
	}
	l.out.EndStream()
	l.out.EndStream()
	if s.Finish(); !s.Met() {
		t.Fatal("not met")
	}
	if line := s.Take(); line.Text != "port 80" || !line.Ended {
		t.Errorf("%+v", line)
	}
	fmt.Fprint(l.Stderr(), "ing")
	if got := text(t, l, Query{}); got != "port 80\nwarning" {
		t.Errorf("%q of\n%s", got, read(t, path))
	}
}

// TestStanding: which patterns a line matches that may go on.
func TestStanding(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{`Password\?`, "Password? ", true},
		{`Password\? $`, "Password? ", true},
		{`Password.*`, "Password? ", true},
		{`(\w+)\? `, "Password? ", true},
		{`login`, "Password? ", false},
		{`port (\d+)`, "port 80", false},
		{`port (\d+)$`, "port 80", false},
		{`port (\d{2})`, "port 80", true},
		{`port (\d+) `, "port 80 ", true},
		{`(.*)`, "port", false},
		{`(a|ab)(c|bcd)?$`, "ab", false},
		{`name (\w+)`, "name x1", false},
		{`name (\pL+)`, "name é", false},
		{`(> )$`, "> ", true},
		{`()`, "", true},
		{`gate (closing|closed|cl)`, "gate cl", false},
		{`gate (cl|closing)`, "gate cl", true}, // the first that matches is taken, however it goes on
		{`gate (shut(?:-for-good)?)`, "gate shut", false},
		{`gate (shut(?:-for-good)?)`, "gate shut ", true},
		{`done(?: in (\d+) s)?`, "done", false},
		{`done(?: in (\d+) s)?`, "done.", true},
		{`^.*gate (\d+) is`, "gate 7 is", true}, // another gate may follow: that is another match
		{`(\d+)\b`, "gate 7", false},
		{`(\d+)\b`, "gate 7 ", true},
		{`(\pL+)`, "caf\xc3", false}, // half of é
		{`(x\n?)`, "x", true},
	} {
		if got := standing(regexp.MustCompile(test.pattern), []byte(test.text)); got != test.want {
			t.Errorf("%q in %q: %v", test.pattern, test.text, got)
		}
	}
}

// TestFinish: what is there at the deadline counts, a line that has just begun too.
func TestFinish(t *testing.T) {
	l := realLog(t)
	s := l.Search(regexp.MustCompile("now$"), Both, From{})
	fmt.Fprint(l.Stdout(), strings.Repeat("other\n", 100_000)+"now")
	s.Finish()
	if !s.Met() {
		t.Fatal("not met")
	}
	if line := s.Take(); line.Text != "now" || line.Ended {
		t.Errorf("%+v", line)
	}
}

// TestLostAtOnce: where a log cannot be written any more, what it has is found, and who
// waits for what it has not is told at once, as is who begins to wait then.
func TestLostAtOnce(t *testing.T) {
	l, path := newLog(t, ticks())
	l.Begin(1)
	fmt.Fprintln(l.Stdout(), "before")
	news := make(chan struct{}, 1)
	s := l.Search(regexp.MustCompile("after"), Both, From{})
	s.Follow(func() { news <- struct{}{} })
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(other, "1.000000 out of another")
	other.Close()
	fmt.Fprintln(l.Stdout(), "after")
	<-news
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "what it wrote is lost: cannot write: ") || s.Met() {
		t.Errorf("%v", err)
	}
	s.Stop()
	if got := get(t, l, "before", Both, From{}); got != "before" {
		t.Errorf("%q", got)
	}
	if s := l.Search(regexp.MustCompile("before"), Both, From{}); s.Met() || s.Err() == nil {
		t.Errorf("the second of one line: %v", s.Err())
	}
}

// TestMatchedLength: a pattern matches across a long line's pieces, and sees the
// first 16 MiB of one.
func TestMatchedLength(t *testing.T) {
	l := realLog(t)
	long := strings.Repeat("x", 1<<20)
	fmt.Fprint(l.Stdout(), "a ", long, long, " z\n")
	if got := get(t, l, "a x+ z", Both, From{}); len(got) != 2*len(long)+4 {
		t.Errorf("%d bytes", len(got))
	}
	for range 20 {
		fmt.Fprint(l.Stdout(), long)
		fmt.Fprint(l.Stderr(), ".")
	}
	fmt.Fprint(l.Stdout(), "end\n")
	l.End()
	if got := get(t, l, "end", Both, From{}); got != "over" {
		t.Errorf("%d bytes", len(got))
	}
	if got := get(t, l, "^xx", Both, From{}); len(got) != MaxMatched {
		t.Errorf("%d bytes", len(got))
	}
}

// TestMany: many searches at once, on two streams that are written meanwhile: each
// line is taken once, and those whose search is given up are another's.
func TestMany(t *testing.T) {
	const lines, searchers = 2000, 8
	l := realLog(t)
	var writers, searching sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			w := l.Stdout()
			if i == 1 {
				w = l.Stderr()
			}
			for n := range lines {
				fmt.Fprint(w, "li")
				fmt.Fprintf(w, "ne %d.%d\nother\n", i, n)
			}
		})
	}
	var mu sync.Mutex
	seen := map[string]int{}
	pattern := regexp.MustCompile("^line .*$")
	for i := range searchers {
		searching.Go(func() {
			for n := 0; ; n++ {
				s := l.Search(pattern, []string{Both, Both, Stdout, Stderr}[i%4], From{})
				if !wait(t, s) {
					return
				}
				if n%7 == i%7 {
					s.Stop()
					continue
				}
				mu.Lock()
				seen[s.Take().Text]++
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	l.End()
	searching.Wait()
	for {
		s := l.Search(pattern, Both, From{})
		if !wait(t, s) {
			break
		}
		seen[s.Take().Text]++
	}
	for line, n := range seen {
		if n != 1 {
			t.Errorf("%q was returned %d times", line, n)
		}
	}
	if len(seen) != 2*lines {
		t.Errorf("%d lines, want %d", len(seen), 2*lines)
	}
}
