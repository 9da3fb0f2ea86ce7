package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Difference is what a comparison found. A payload counts as often as it is
// there.
type Difference struct {
	kind            kind
	expected, found int // how many records there are

	// Missing were expected and not found, in the order in which they were
	// expected: of several with a payload the last ones.
	Missing []Record
	// Extra were found and have a payload that was not expected at all;
	// Duplicated one that was, less often: of several the last ones. Both are in
	// the order in which they were found.
	Extra, Duplicated []Record
	// First is, for each of Duplicated where nothing was expected, the record
	// that it repeats.
	First []Record

	// Differs is where two lists that are to be in the same order begin to
	// differ, from 0, or -1; Expected and Found are what they have there, nil
	// where one has come to its end.
	Differs         int
	Expected, Found *Record
}

// kind is which comparison it was.
type kind int

const (
	same kind = iota
	ordered
	subset
	unique
)

// Same compares what was received with what was sent: as often each, in any
// order, or if inOrder in the same. It returns nil where they are the same.
func Same(sent, received []Record, inOrder bool) *Difference {
	d := &Difference{kind: same, Differs: firstDifferent(sent, received)}
	if d.Differs < 0 {
		return nil
	}
	if inOrder {
		d.kind = ordered
		if d.Differs < len(sent) {
			d.Expected = &sent[d.Differs]
		}
		if d.Differs < len(received) {
			d.Found = &received[d.Differs]
		}
	} else {
		d.Differs = -1
	}
	d.count(sent, received)
	if !inOrder && len(d.Missing)+len(d.Extra)+len(d.Duplicated) == 0 {
		return nil
	}
	return d
}

// firstDifferent is the index of the first payload that is not the same in two
// lists, or -1.
func firstDifferent(a, b []Record) int {
	for i := range min(len(a), len(b)) {
		if a[i].Payload != b[i].Payload {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// Subset compares a part with the whole that it is to be of: each payload is in
// it at least as often. It returns nil where that is so.
func Subset(part, whole []Record) *Difference {
	d := &Difference{kind: subset, Differs: -1}
	d.count(whole, part)
	if len(d.Extra)+len(d.Duplicated) == 0 {
		return nil
	}
	return d
}

// Unique looks for payloads that are there more than once. It returns nil where
// there is none.
func Unique(records []Record) *Difference {
	d := &Difference{kind: unique, Differs: -1, found: len(records)}
	known := index(records)
	known.find(records, func(i int, s *slot) {
		if s.at == 0 {
			s.at = uint32(i + 1)
			return
		}
		d.Duplicated = append(d.Duplicated, records[i])
		d.First = append(d.First, records[s.at-1])
	})
	if len(d.Duplicated) == 0 {
		return nil
	}
	return d
}

// count finds which records are missing and which are too many.
func (d *Difference) count(expected, found []Record) {
	d.expected, d.found = len(expected), len(found)
	known := index(expected)
	first := make([]uint32, len(expected)) // of each, the first record with its payload
	left := make([]uint32, len(expected))  // how often the payload of a first one is still to be found
	known.find(expected, func(i int, s *slot) {
		if s.at == 0 {
			s.at = uint32(i + 1)
		}
		first[i] = s.at - 1
		left[s.at-1]++
	})
	missing := len(expected)
	known.find(found, func(i int, s *slot) {
		switch {
		case s.at == 0:
			d.Extra = append(d.Extra, found[i])
		case left[s.at-1] == 0:
			d.Duplicated = append(d.Duplicated, found[i])
		default:
			left[s.at-1]--
			missing--
		}
	})
	if d.kind == subset || missing == 0 {
		return
	}
	d.Missing = make([]Record, 0, missing)
	for i, n := range slices.Backward(first) {
		if left[n] > 0 {
			left[n]--
			d.Missing = append(d.Missing, expected[i])
		}
	}
	slices.Reverse(d.Missing)
}

// Text tells the difference in a line of bounded length. Times are seconds since
// began, as in an event log; those before it are told in full.
func (d *Difference) Text(began time.Time) string {
	w := writer{began: began}
	switch {
	case d.kind == unique:
		w.add("%s of %s %s", thousands(len(d.Duplicated)), counted(d.found), plural(len(d.Duplicated), "is a duplicate", "are duplicates"))
		if len(d.Duplicated) > 1 {
			w.add(": %s; first", listed(d.Duplicated))
		} else {
			w.add(":")
		}
		w.add(" %s (%s, and before it %s)", quote(d.Duplicated[0].Payload), w.place(d.Duplicated[0]), w.place(d.First[0]))
		return w.String()
	case d.kind == subset:
		n := len(d.Extra) + len(d.Duplicated)
		w.add("part is not in whole: %s of its %s %s not among the %s", thousands(n), counted(d.found), plural(n, "is", "are"), thousands(d.expected))
		w.group(d.Duplicated, "duplicated", false)
		w.group(d.Extra, "extra", false)
		return w.String()
	case len(d.Missing)+len(d.Extra)+len(d.Duplicated) == 0:
		w.add("received is not in the order of sent: %s", w.differs(d))
		return w.String()
	}
	of := "of"
	if d.found > d.expected {
		of = "instead of"
	}
	w.add("received is not the same as sent: %s %s %s", thousands(d.found), of, counted(d.expected))
	w.group(d.Missing, "missing", true)
	w.group(d.Duplicated, "duplicated", false)
	w.group(d.Extra, "extra", true)
	if d.kind == ordered {
		w.add("; they begin to differ where %s", w.differs(d))
	}
	return w.String()
}

// writer writes the text of a difference.
type writer struct {
	strings.Builder
	began time.Time
}

func (w *writer) add(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// group adds what is wrong in the same way with some records; none is said only
// if it is to be.
func (w *writer) group(wrong []Record, how string, sayNone bool) {
	switch {
	case len(wrong) > 1:
		w.add("; %s %s: %s; first %[2]s %[4]s (%[5]s)", thousands(len(wrong)), how, listed(wrong), quote(wrong[0].Payload), w.place(wrong[0]))
	case len(wrong) == 1:
		w.add("; 1 %s: %s (%s)", how, quote(wrong[0].Payload), w.place(wrong[0]))
	case sayNone:
		w.add("; none %s", how)
	}
}

// differs tells where the order differs.
func (w *writer) differs(d *Difference) string {
	at := func(r *Record, was string) string {
		if r == nil {
			return "nothing was " + was
		}
		return fmt.Sprintf("%s was %s (%s)", quote(r.Payload), was, w.place(*r))
	}
	return at(d.Expected, "sent") + " and " + at(d.Found, "received")
}

// place is where a record is from.
func (w *writer) place(r Record) string {
	if r.File == "" {
		return "number " + thousands(r.Line)
	}
	t := time.UnixMicro(r.Time)
	at := fmt.Sprintf("%.6fs", t.Sub(w.began).Seconds())
	if t.Before(w.began) || t.Sub(w.began) > 100*24*time.Hour { // of another run
		at = t.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	return fmt.Sprintf("%s:%d, at %s", r.File, r.Line, at)
}

// listedMax is how many payloads or ranges of them are listed.
const listedMax = 8

// listed names payloads: where all are whole numbers, in ranges.
func listed(records []Record) string {
	numbers := make([]int64, 0, len(records))
	for _, r := range records {
		n, err := strconv.ParseInt(r.Payload, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != r.Payload {
			break
		}
		numbers = append(numbers, n)
	}
	if len(numbers) < len(records) {
		return enumerate(len(records), func(i int) (string, int) { return quote(records[i].Payload), 1 })
	}
	slices.Sort(numbers)
	return enumerate(len(numbers), func(i int) (string, int) {
		j := i + 1
		for j < len(numbers) && (numbers[j] == numbers[j-1] || numbers[j]-1 == numbers[j-1]) {
			j++
		}
		if numbers[j-1] == numbers[i] {
			return strconv.FormatInt(numbers[i], 10), j - i
		}
		return fmt.Sprintf("%d–%d", numbers[i], numbers[j-1]), j - i
	})
}

// enumerate names the first of n things, and how many more there are: next is the
// name of the one at i, and of how many from there on.
func enumerate(n int, next func(i int) (name string, of int)) string {
	var names []string
	for i := 0; i < n; {
		if len(names) == listedMax {
			return fmt.Sprintf("%s and %s more", strings.Join(names, ", "), thousands(n-i))
		}
		name, of := next(i)
		names = append(names, name)
		i += of
	}
	return strings.Join(names, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// counted is a number of records.
func counted(n int) string { return thousands(n) + plural(n, " record", " records") }

// thousands is a number, not negative, with its digits in groups.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
