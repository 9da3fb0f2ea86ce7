package output

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ticks is a clock that goes on by 1.5 ms at each look.
func ticks() func() time.Duration {
	var now atomic.Int64
	return func() time.Duration { return time.Duration(now.Add(int64(1500 * time.Microsecond))) }
}

func newLog(t testing.TB, now func() time.Duration) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.log")
	logs := NewLogs(now)
	l := logs.Create(path)
	t.Cleanup(func() { l.Close(); logs.Wait() })
	return l, path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func text(t testing.TB, l *Log, q Query) string {
	t.Helper()
	s, err := l.Text(q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFile: what the file looks like, at each moment.
func TestFile(t *testing.T) {
	l, path := newLog(t, ticks())
	l.Begin(1)
	for _, step := range []struct {
		stream, write string
		file          string // what the file ends with then
		text          string
	}{
		{"out", "first\nPass", "0.003000 out first\n0.003000 out Pass", "first\nPass"},
		{"out", "word? ", "0.003000 out Password? ", "first\nPassword? "},
		{"err", "no terminal\nand", "0.003000 out+ Password? \n0.006000 err no terminal\n0.006000 err and",
			"first\nno terminal\nPassword? \nand"},
		{"out", "secret", "0.006000 err+ and\n0.007500 +out secret", "first\nno terminal\nand\nPassword? secret"},
		{"err", "\n", "0.007500 +out+ secret\n0.009000 +err \n", "first\nno terminal\nand\nPassword? secret"},
		{"out", "\n\n", "0.010500 +out \n0.010500 out \n", "first\nno terminal\nand\nPassword? secret\n\n"},
		{"out", "bytes \xff\x00\r\n", "0.012000 out bytes \xff\x00\r\n", "first\nno terminal\nand\nPassword? secret\n\nbytes \xff\x00\r\n"},
	} {
		w := l.Stdout()
		if step.stream == "err" {
			w = l.Stderr()
		}
		if n, err := w.Write([]byte(step.write)); n != len(step.write) || err != nil {
			t.Fatal(n, err)
		}
		if got := read(t, path); !strings.HasSuffix(got, "\n"+step.file) {
			t.Errorf("after %q the file is\n%s\nwant its end\n%s", step.write, got, step.file)
		}
		if got := text(t, l, Query{}); got != step.text {
			t.Errorf("after %q the text is %q, want %q", step.write, got, step.text)
		}
	}
	fmt.Fprint(l.Stdout(), "cut")
	fmt.Fprint(l.Stderr(), "off")
	l.End()
	if got, want := read(t, path), "0.013500 out+ cut\n0.015000 err off\n0.016500 +out \n"; !strings.HasSuffix(got, want) {
		t.Errorf("the file is\n%s\nwant its end\n%s", got, want)
	}
	l.Begin(2)
	if got := text(t, l, Query{}); got != "" {
		t.Errorf("the text of a new incarnation: %q", got)
	}
}

// TestQueries: streams, the last lines, and those since a time.
func TestQueries(t *testing.T) {
	l, _ := newLog(t, ticks())
	l.Begin(1)
	fmt.Fprint(l.Stdout(), "of the first\nhalf")
	l.End()
	l.Begin(2)
	for i := range 5 {
		fmt.Fprintf(l.Stdout(), "o%d\n", i)
		fmt.Fprintf(l.Stderr(), "e%d\n", i)
	}
	from := l.logs.now()
	fmt.Fprint(l.Stdout(), "open")
	for q, want := range map[Query]string{
		{}:                                 "o0\ne0\no1\ne1\no2\ne2\no3\ne3\no4\ne4\nopen",
		{Stream: Stdout}:                   "o0\no1\no2\no3\no4\nopen",
		{Stream: Stderr}:                   "e0\ne1\ne2\ne3\ne4\n",
		{Last: 1}:                          "open",
		{Last: 3}:                          "o4\ne4\nopen",
		{Last: 2, Stream: Stderr}:          "e3\ne4\n",
		{Last: 100, Stream: Stdout}:        "o0\no1\no2\no3\no4\nopen",
		{Since: from}:                      "open",
		{Since: from, Stream: Stderr}:      "",
		{Since: from - 4*time.Second}:      "o0\ne0\no1\ne1\no2\ne2\no3\ne3\no4\ne4\nopen",
		{Since: from - 3000*1000}:          "o4\ne4\nopen",
		{Since: from - 3000*1000 + 1}:      "e4\nopen",
		{Since: from - 1e7, Last: 1 << 40}: "o2\ne2\no3\ne3\no4\ne4\nopen",
	} {
		if got := text(t, l, q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	if got := l.Tail(2); !slices.Equal(got, []string{"e4", "open"}) {
		t.Errorf("tail %q", got)
	}
}

// TestLongLines: lines of any length come back as one, and an error quotes their
// beginning.
func TestLongLines(t *testing.T) {
	for _, length := range []int{blockSize - 1, blockSize, 200_000, maxPiece - 1, maxPiece, maxPiece + 1, 3*maxPiece + 17} {
		l, path := newLog(t, ticks())
		l.Begin(1)
		long := strings.Repeat("x", length-1) + "E"
		for rest := long + "\nshort\n" + long; rest != ""; {
			n := min(len(rest), 64<<10)
			fmt.Fprint(l.Stdout(), rest[:n])
			rest = rest[n:]
		}
		if got := text(t, l, Query{}); got != long+"\nshort\n"+long {
			t.Errorf("%d bytes: %d came back", length, len(got))
		}
		if got := text(t, l, Query{Last: 3, Stream: Stdout}); len(got) != 2*length+7 {
			t.Errorf("%d bytes: the last three lines have %d", length, len(got))
		}
		l.End()
		if got := text(t, l, Query{Last: 1}); got != long+"\n" {
			t.Errorf("%d bytes: the last line has %d", length, len(got))
		}
		if got := l.Tail(1); len(got) != 1 || got[0] != long[:tailLine]+"…" {
			t.Errorf("%d bytes: tail %.600q", length, got)
		}
		for line := range strings.Lines(read(t, path)) {
			if len(line) > maxPiece+40 {
				t.Errorf("%d bytes: a line of the file has %d", length, len(line))
			}
		}
	}
}

// TestFull: a log that cannot be written loses lines, holds nobody up, and says so
// at the end. What it has is read on.
func TestFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	path := filepath.Join(t.TempDir(), "node.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	l := NewLogs(ticks()).Create(path)
	l.Begin(1)
	for range 3 {
		if n, err := fmt.Fprint(l.Stdout(), "lost\nand"); err != nil || n != 8 {
			t.Errorf("%d, %v: the node would be held up", n, err)
		}
	}
	l.End()
	if got, err := l.Text(Query{}); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Close: %v", err)
	}
}

// TestRemoved: a log whose file is gone says so, be it when it is to be opened again or
// at the end.
func TestRemoved(t *testing.T) {
	logs := NewLogs(ticks())
	dir := t.TempDir()
	var all []*Log
	for i := range mostOpen + 1 {
		l := logs.Create(filepath.Join(dir, fmt.Sprint(i)))
		l.Begin(1)
		all = append(all, l)
	}
	os.RemoveAll(dir)
	fmt.Fprintln(all[0].Stdout(), "lost")
	for i, l := range all {
		if err := l.Close(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestSpoilt: a log that somebody else has cut, emptied or replaced is not read as if it
// were the one that was written, is not written on, and says so by its name.
func TestSpoilt(t *testing.T) {
	const said = "one of a thousand lines\n"
	for what, test := range map[string]struct {
		do        func(path string) error
		unread    bool // it cannot be read back any more
		unwritten bool // it is not written on
	}{
		"cut":     {func(path string) error { return os.Truncate(path, 5000) }, true, true},
		"emptied": {func(path string) error { return os.Truncate(path, 0) }, true, true},
		"longer": {func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("something")
				err = errors.Join(err, f.Close())
			}
			return err
		}, false, true},
		"a hole": {func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(os.Truncate(path, 5000), os.Truncate(path, info.Size()))
		}, true, false},
		"replaced": {func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, b, 0o600))
		}, false, false},
	} {
		for _, writes := range []bool{false, true} {
			l, path := newLog(t, ticks())
			l.Begin(1)
			for range 1000 {
				fmt.Fprint(l.Stdout(), said)
			}
			if err := test.do(path); err != nil {
				t.Fatal(err)
			}
			if writes && what != "a hole" { // which nothing tells from text that a node wrote once a line follows
				fmt.Fprint(l.Stdout(), said)
			}
			got, err := l.Text(Query{})
			if (err != nil) != test.unread || err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%s, writes %v: Text: %v", what, writes, err)
			}
			if strings.Contains(got, "\x00") {
				t.Errorf("%s, writes %v: a hole is read as text", what, writes)
			}
			if err := l.Err(); (err != nil) != (writes && test.unwritten) || err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%s, writes %v: Err: %v", what, writes, err)
			}
			if err := l.Close(); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s, writes %v: Close: %v", what, writes, err)
			}
		}
	}
}

// TestMostOpen: many logs need few files, and lose nothing by it.
func TestMostOpen(t *testing.T) {
	logs := NewLogs(ticks())
	dir := t.TempDir()
	var all []*Log
	for i := range 5 * mostOpen {
		l := logs.Create(filepath.Join(dir, fmt.Sprint(i)))
		l.Begin(1)
		all = append(all, l)
	}
	for i := range 3 {
		for j, l := range all {
			fmt.Fprintf(l.Stdout(), "%d of %d\n", i, j)
		}
	}
	if len(logs.open) > mostOpen {
		t.Errorf("%d files are open", len(logs.open))
	}
	for j, l := range all {
		if got, want := text(t, l, Query{}), fmt.Sprintf("0 of %d\n1 of %[1]d\n2 of %[1]d\n", j); got != want {
			t.Errorf("%d: %q", j, got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(logs.open) != 0 {
		t.Errorf("%d files are open at the end", len(logs.open))
	}
}

// TestMemory: the text needs its own memory, and the last lines next to none.
func TestMemory(t *testing.T) {
	l, _ := newLog(t, ticks())
	l.Begin(1)
	chunk := bytes.Repeat(append(bytes.Repeat([]byte("y"), 199), '\n'), 5000)
	for range 50 {
		l.Stdout().Write(chunk)
	}
	allocated := func(q Query) (length int, bytes uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		length = len(text(t, l, q))
		runtime.ReadMemStats(&after)
		return length, after.TotalAlloc - before.TotalAlloc
	}
	if length, took := allocated(Query{}); length != 50*len(chunk) || took > uint64(length)+1<<20 {
		t.Errorf("%d bytes of text took %d", length, took)
	}
	if length, took := allocated(Query{Last: 100}); length != 100*200 || took > 1<<20 {
		t.Errorf("%d bytes of text took %d", length, took)
	}
}

// FuzzLog: what is written in any pieces on two streams comes back, line by line.
func FuzzLog(f *testing.F) {
	f.Add([]byte("a line\nPassword? \n\r\n\x00\xff0.1 out x\n--- incarnation 2\n"), uint64(1), false)
	f.Add(bytes.Repeat([]byte("long "), 1000), uint64(2), true)
	f.Add([]byte("0.000001 out+ x\n0.000001 +err y\nend"), uint64(3), false)
	path := filepath.Join(f.TempDir(), "node.log")
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, short bool) {
		logs := NewLogs(ticks())
		l := logs.Create(path)
		defer logs.Wait()
		defer l.Close()
		random := rand.New(rand.NewPCG(seed, 0))
		if short {
			l.most = 7 // lines of many pieces
		}
		l.Begin(1)
		fmt.Fprint(l.Stdout(), "of another incarnation")
		l.End()
		l.Begin(2)
		var wrote [2][]byte
		for len(data) > 0 {
			n := 1 + random.IntN(min(len(data), 1<<random.IntN(18)))
			i := random.IntN(2)
			w := l.Stdout()
			if i == 1 {
				w = l.Stderr()
			}
			w.Write(data[:n])
			wrote[i] = append(wrote[i], data[:n]...)
			data = data[n:]
		}
		for range 2 {
			both := 0
			for i, stream := range []string{Stdout, Stderr} {
				want := string(wrote[i])
				got := text(t, l, Query{Stream: stream})
				if got != want {
					t.Fatalf("%s: %.200q, want %.200q", stream, got, want)
				}
				if want != "" {
					lines := strings.SplitAfter(strings.TrimSuffix(want, "\n"), "\n")
					both += len(lines)
					n := 1 + random.IntN(len(lines))
					lastOf := lines[len(lines)-n:]
					if got := text(t, l, Query{Stream: stream, Last: n}); strings.TrimSuffix(got, "\n") != strings.Join(lastOf, "") {
						t.Fatalf("%s, last %d: %.200q, want %.200q", stream, n, got, lastOf)
					}
				}
			}
			all := text(t, l, Query{})
			if n := strings.Count(strings.TrimSuffix(all, "\n"), "\n") + 1; both > 0 && n != both {
				t.Fatalf("%d lines of both, want %d: %.200q", n, both, all)
			}
			l.End()
			for i := range wrote {
				if n := len(wrote[i]); n > 0 && wrote[i][n-1] != '\n' {
					wrote[i] = append(wrote[i], '\n')
				}
			}
		}
		// Searches find the same, whatever of it the one for both streams has taken.
		pattern := regexp.MustCompile("")
		var found [2]string
		take := func(stream string) bool {
			s := l.Search(pattern, stream, From{})
			if s.Finish(); !s.Met() {
				return false
			}
			line := s.Take()
			found[streamIndex(line.Stream)] += line.Text + "\n"
			return true
		}
		for range random.IntN(10) {
			take(Both)
		}
		for take(Stderr) {
		}
		for take(Both) {
		}
		for i := range found {
			if found[i] != string(wrote[i]) {
				t.Fatalf("%d: searches found %.200q, want %.200q", i, found[i], wrote[i])
			}
		}
	})
}

// TestTailOf: what an incarnation wrote last is told though another has followed.
func TestTailOf(t *testing.T) {
	logs := NewLogs(func() time.Duration { return 0 })
	l := logs.Create(filepath.Join(t.TempDir(), "n.log"))
	defer l.Close()
	l.Begin(1)
	l.Stdout().Write([]byte("a\nb\nunfinished"))
	l.Begin(2) // it was not started
	l.Begin(2)
	l.End()
	l.Begin(3)
	l.Stderr().Write([]byte("c\nd"))
	for incarnation, want := range [][]string{nil, {"b", "unfinished"}, nil, {"c", "d"}, nil} {
		if got := l.TailOf(incarnation, 2); !slices.Equal(got, want) {
			t.Errorf("incarnation %d: %q, want %q", incarnation, got, want)
		}
	}
}
