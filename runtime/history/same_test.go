package history_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/record"
)

var began = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// records are what a comparison is given of files.
type records []record.Record

func (r records) Len() int          { return len(r) }
func (r records) Text(i int) string { return r[i].Payload }
func (r records) Point(i int) Point {
	return Point{Element: r[i].Payload, File: r[i].File, Place: r[i].Line, At: time.UnixMicro(r[i].Time).Sub(began)}
}

// file makes records of a file with these payloads, one each millisecond.
func file(name string, payloads ...string) records {
	var all records
	for i, p := range payloads {
		all = append(all, record.Record{Payload: p, Time: began.UnixMicro() + int64(i)*1000, File: name, Line: i + 1})
	}
	return all
}

// numbers are those from and to, but not without.
func numbers(from, to int, without ...int) []string {
	var all []string
	for n := from; n <= to; n++ {
		if !slices.Contains(without, n) {
			all = append(all, fmt.Sprint(n))
		}
	}
	return all
}

// text is what is said of a difference, "" where there is none.
func text(r *Result) string {
	if r.Verdict != Invalid {
		return ""
	}
	return r.Text(TextOptions{Began: began})
}

// points are those of a group.
func points(r *Result, name string) (all []Point) {
	for _, g := range r.Groups {
		if g.Name == name {
			all = append(all, g.Points...)
		}
	}
	return all
}

// TestText holds what is said of differences.
func TestText(t *testing.T) {
	lost := append(numbers(0, 4011), numbers(4139, 9999)...)
	long := strings.Repeat("x", 1000)
	for _, test := range []struct {
		sent, received    []string
		same, inOrder, of string // what Same says, Same in order, and Subset of received and sent
	}{
		{nil, nil, "", "", ""},
		{numbers(0, 99), numbers(0, 99), "", "", ""},
		{numbers(0, 9999), lost,
			`received is not the same as sent: 9,873 of 10,000 records; 127 missing: 4012–4138; first missing "4012" ` +
				`(s/sent.txt:4013, at 4.012000s); none extra`,
			`received is not the same as sent: 9,873 of 10,000 records; 127 missing: 4012–4138; first missing "4012" ` +
				`(s/sent.txt:4013, at 4.012000s); none extra; they begin to differ where "4012" was sent (s/sent.txt:4013, at ` +
				`4.012000s) and "4139" was received (r/received.txt:4013, at 4.012000s)`,
			""},
		{[]string{"a", "b", "c"}, []string{"a", "c", "b"}, "",
			`received is not in the order of sent: "b" was sent (s/sent.txt:2, at 0.001000s) and "c" was received ` +
				`(r/received.txt:2, at 0.001000s)`, ""},
		{[]string{"a"}, nil,
			`received is not the same as sent: 0 of 1 record; 1 missing: "a" (s/sent.txt:1, at 0.000000s); none extra`,
			`received is not the same as sent: 0 of 1 record; 1 missing: "a" (s/sent.txt:1, at 0.000000s); none extra; they ` +
				`begin to differ where "a" was sent (s/sent.txt:1, at 0.000000s) and nothing was received`,
			""},
		{nil, []string{"x", "x"},
			`received is not the same as sent: 2 instead of 0 records; none missing; 2 extra: "x", "x"; first extra "x" ` +
				`(r/received.txt:1, at 0.000000s)`,
			`received is not the same as sent: 2 instead of 0 records; none missing; 2 extra: "x", "x"; first extra "x" ` +
				`(r/received.txt:1, at 0.000000s); they begin to differ where nothing was sent and "x" was received (r/received.txt:1, at 0.000000s)`,
			`part is not in whole: 2 of its 2 records are not among the 0; 2 extra: "x", "x"; first extra "x" (r/received.txt:1, at 0.000000s)`},
		{[]string{"1", "2", "2", "3"}, []string{"2", "1", "2", "1", "2", "01"},
			`received is not the same as sent: 6 instead of 4 records; 1 missing: "3" (s/sent.txt:4, at 0.003000s); 2 ` +
				`duplicated: 1–2; first duplicated "1" (r/received.txt:4, at 0.003000s); 1 extra: "01" (r/received.txt:6, at 0.005000s)`,
			`received is not the same as sent: 6 instead of 4 records; 1 missing: "3" (s/sent.txt:4, at 0.003000s); 2 ` +
				`duplicated: 1–2; first duplicated "1" (r/received.txt:4, at 0.003000s); 1 extra: "01" (r/received.txt:6, at ` +
				`0.005000s); they begin to differ where "1" was sent (s/sent.txt:1, at 0.000000s) and "2" was received ` +
				`(r/received.txt:1, at 0.000000s)`,
			`part is not in whole: 3 of its 6 records are not among the 4; 2 duplicated: 1–2; first duplicated "1" ` +
				`(r/received.txt:4, at 0.003000s); 1 extra: "01" (r/received.txt:6, at 0.005000s)`},
		// Of several with a payload the last are those that are missing; of many ranges some are told.
		{[]string{"a", "b", "a"}, []string{"a", "b"},
			`received is not the same as sent: 2 of 3 records; 1 missing: "a" (s/sent.txt:3, at 0.002000s); none extra`,
			`received is not the same as sent: 2 of 3 records; 1 missing: "a" (s/sent.txt:3, at 0.002000s); none extra; ` +
				`they begin to differ where "a" was sent (s/sent.txt:3, at 0.002000s) and nothing was received`, ""},
		{append(numbers(-9, -5), numbers(17, 60, 20, 22, 24, 26, 28, 30, 32, 34, 36)...), nil,
			`received is not the same as sent: 0 of 40 records; 40 missing: -9–-5, 17–19, 21, 23, 25, 27, 29, 31 and 26 ` +
				`more; first missing "-9" (s/sent.txt:1, at 0.000000s); none extra`, "*", ""},
		{[]string{"-9223372036854775808", "9223372036854775807", "9223372036854775806", "9223372036854775807"}, nil,
			`received is not the same as sent: 0 of 4 records; 4 missing: -9223372036854775808, ` +
				`9223372036854775806–9223372036854775807; first missing "-9223372036854775808" (s/sent.txt:1, at 0.000000s); none extra`, "*", ""},
		{[]string{"9223372036854775808", "1"}, nil,
			`received is not the same as sent: 0 of 2 records; 2 missing: "9223372036854775808", "1"; first missing ` +
				`"9223372036854775808" (s/sent.txt:1, at 0.000000s); none extra`, "*", ""},
		{[]string{long}, []string{long, "\n"},
			`received is not the same as sent: 2 instead of 1 record; none missing; 1 extra: "\n" (r/received.txt:2, at 0.001000s)`, "*",
			`part is not in whole: 1 of its 2 records is not among the 1; 1 extra: "\n" (r/received.txt:2, at 0.001000s)`},
		{[]string{long}, nil,
			`received is not the same as sent: 0 of 1 record; 1 missing: "` + long[:60] + `"… (s/sent.txt:1, at 0.000000s); none extra`, "*", ""},
	} {
		sent, received := file("s/sent.txt", test.sent...), file("r/received.txt", test.received...)
		for what, got := range map[string][2]string{
			"same":     {text(Same(sent, received, false)), test.same},
			"in order": {text(Same(sent, received, true)), test.inOrder},
			"subset":   {text(Subset(received, sent)), test.of},
		} {
			if got[0] != got[1] && got[1] != "*" || len(got[0]) > 2000 {
				t.Errorf("%s:\n got %s\nwant %s", what, got[0], got[1])
			}
		}
	}
}

// TestTextOfDuplicates holds what is said of those, and of records that are of
// no file, or of another run's.
func TestTextOfDuplicates(t *testing.T) {
	if d := NoDuplicates(file("f", numbers(0, 99)...)); d.Verdict != Valid {
		t.Error(d)
	}
	got := text(NoDuplicates(file("f", "a", "b", "a")))
	if want := `1 of 3 records is a duplicate: "a" (f:3, at 0.002000s, and before it f:1, at 0.000000s)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var list records
	for i, n := range append(numbers(0, 1999), numbers(5, 7)...) {
		list = append(list, record.Record{Payload: n, Line: i + 1})
	}
	list = append(list, record.Record{Payload: "5", Time: -1, File: "old", Line: 9})
	got = text(NoDuplicates(list))
	if want := `4 of 2,004 records are duplicates: 5–7; first "5" (number 2,001, and before it number 6)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got = text(Same(list[:9], append(list[:9:9], list[2003]), false))
	if want := `received is not the same as sent: 10 instead of 9 records; none missing; 1 duplicated: "5" (old:9, at ` +
		`1969-12-31T23:59:59.999999Z); none extra`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCounts holds the comparisons against counting payload by payload.
func TestCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		draw := func() records {
			var payloads []string
			for range random.IntN(12) {
				payloads = append(payloads, fmt.Sprint(random.IntN(6)))
			}
			return file("f", payloads...)
		}
		sent, received := draw(), draw()
		count := func(of records, p string) (n int) {
			for _, r := range of {
				if r.Payload == p {
					n++
				}
			}
			return n
		}
		missing, extra, duplicated, repeated := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
		for n := range 6 {
			p := fmt.Sprint(n)
			s, r := count(sent, p), count(received, p)
			switch {
			case s > r:
				missing[p] = s - r
			case s == 0 && r > 0:
				extra[p] = r
			case r > s:
				duplicated[p] = r - s
			}
			if r > 1 {
				repeated[p] = r - 1
			}
		}
		wrong := func(what string, got []Point, want map[string]int) {
			total := 0
			for p, n := range want {
				total += n
				for _, g := range got {
					if g.Element == p {
						n--
					}
				}
				if n != 0 {
					t.Fatalf("%s of %v and %v: %v, want %v", what, sent, received, got, want)
				}
			}
			if len(got) != total || !slices.IsSortedFunc(got, func(a, b Point) int { return a.Place - b.Place }) {
				t.Fatalf("%s of %v and %v: %v, want %v", what, sent, received, got, want)
			}
		}
		d := Same(sent, received, false)
		wrong("missing", points(d, "missing"), missing)
		wrong("extra", points(d, "extra"), extra)
		wrong("duplicated", points(d, "duplicated"), duplicated)
		d = Subset(received, sent)
		wrong("extra", points(d, "extra"), extra)
		wrong("duplicated", points(d, "duplicated"), duplicated)
		wrong("repeated", points(NoDuplicates(received), "duplicated"), repeated)
		payload := func(a, b record.Record) bool { return a.Payload == b.Payload }
		if Same(sent, received, true).Verdict == Invalid == slices.EqualFunc(sent, received, payload) {
			t.Fatalf("the order of %v and %v", sent, received)
		}
	}
}

// BenchmarkSame prints how long it takes to read two files of a million records,
// the second in another order, and to compare them; and how many times as long
// that is as to scan the lines of the same files.
func BenchmarkSame(b *testing.B) {
	sent, received := files(b, 1_000_000)
	var read, compare, plain time.Duration
	for range b.N {
		for _, path := range []string{sent, received} {
			began := time.Now()
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			lines := 0
			for scanner := bufio.NewScanner(f); scanner.Scan(); {
				lines++
			}
			f.Close()
			plain += time.Since(began)
			if lines != 1_000_000 {
				b.Fatal(lines)
			}
		}
		began := time.Now()
		s, err := record.ReadFile(sent, "sent.txt")
		if err != nil {
			b.Fatal(err)
		}
		r, err := record.ReadFile(received, "received.txt")
		if err != nil {
			b.Fatal(err)
		}
		read += time.Since(began)
		began = time.Now()
		if d := Same(records(s), records(r), false); d.Verdict != Valid {
			b.Fatal(text(d))
		}
		compare += time.Since(began)
		if Same(records(s), records(r), true).Verdict != Invalid {
			b.Fatal("the files are in the same order")
		}
	}
	b.ReportMetric(float64(read.Milliseconds())/float64(b.N), "ms-read")
	b.ReportMetric(float64(compare.Milliseconds())/float64(b.N), "ms-compare")
	b.ReportMetric(float64(read+compare)/float64(plain), "x-scan")
	b.ReportMetric(0, "ns/op")
}

// files writes files of so many records, and returns their paths: the second
// has the records of the first in another order.
func files(b *testing.B, n int) (sent, received string) {
	b.Helper()
	at := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	write := func(name string, number func(i int) int) string {
		var text []byte
		for i := range n {
			text = record.Append(text, at.Add(time.Duration(i)*time.Microsecond), fmt.Append(nil, number(i)))
		}
		path := filepath.Join(b.TempDir(), name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			b.Fatal(err)
		}
		return path
	}
	return write("sent.txt", func(i int) int { return i }), write("received.txt", func(i int) int { return i ^ i>>4&7 })
}
