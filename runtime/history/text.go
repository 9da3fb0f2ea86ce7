package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TextOptions are what the text of a result needs to know of the run.
type TextOptions struct {
	Began time.Time // when the run's time was 0
	// Faults are those in force at a time of the run, as they are told: "pause(recv)".
	// It may be nil.
	Faults func(at time.Duration) []string
}

// Text tells the result in one line of bounded length: how many there are of each
// group, which ones in ranges, and where the first is from, with its time, seconds
// since the run began, and the faults that were in force then. A time that is not of
// the run is told in full.
func (r *Result) Text(o TextOptions) string {
	w := writer{TextOptions: o}
	w.WriteString(r.Summary)
	for _, g := range r.Groups {
		w.group(g)
	}
	if r.differ && len(r.Groups) == 0 {
		w.add(": %s", w.differs(r))
	} else if r.differ {
		w.add("; they begin to differ where %s", w.differs(r))
	}
	return w.String()
}

// writer writes the text of a result.
type writer struct {
	strings.Builder
	TextOptions
}

func (w *writer) add(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// group adds the points of a group.
func (w *writer) group(g Group) {
	n := len(g.Points)
	if n == 0 {
		w.add("; none %s", g.Name)
		return
	}
	if g.Told {
		w.add(" (%s)", w.place(g.Points[0]))
		return
	}
	name := g.Name + " "
	if g.inSummary {
		name = ""
		w.WriteString(": ")
	} else {
		w.add("; %s %s: ", thousands(n), g.Name)
	}
	if n > 1 {
		w.add("%s; first %s", listed(g.Points), name)
	}
	w.add("%s (%s", quote(g.Points[0].Element), w.place(g.Points[0]))
	if g.before != nil {
		w.add(", and before it %s", w.place(*g.before))
	}
	w.WriteString(")")
}

// differs tells where the order differs.
func (w *writer) differs(r *Result) string {
	at := func(p *Point, was string) string {
		if p == nil {
			return "nothing was " + was
		}
		return fmt.Sprintf("%s was %s (%s)", quote(p.Element), was, w.place(*p))
	}
	return at(r.expected, "sent") + " and " + at(r.found, "received")
}

// place is where a point is from, and when that was.
func (w *writer) place(p Point) string {
	switch {
	case p.Op != nil && p.Op.Process >= 0:
		who := "process " + strconv.Itoa(p.Op.Process)
		if p.Op.Client != "" {
			who = "client " + clipped(p.Op.Client)
		}
		if p.Op.Node != "" {
			who += " of " + clipped(p.Op.Node)
		}
		how := p.Detail
		if how != "" {
			how += " "
		}
		return who + ", " + how + w.when(p.At)
	case p.File == "":
		place := p.Place
		if p.Op != nil {
			place = p.Op.Index + 1
		}
		where := "number " + thousands(place)
		if p.Detail != "" {
			where += ", " + p.Detail
		}
		return where
	}
	return fmt.Sprintf("%s:%d, %s", p.File, p.Place, w.when(p.At))
}

// aRun is longer than any run.
const aRun = 100 * 24 * time.Hour

// when is a time, and what was in force then.
func (w *writer) when(at time.Duration) string {
	if at < 0 || at > aRun {
		return "at " + w.Began.Add(at).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	text := fmt.Sprintf("at %.6fs", at.Seconds())
	if w.Faults == nil {
		return text
	}
	faults := w.Faults(at)
	if len(faults) == 0 {
		return text
	}
	told := make([]string, 0, faultsMax)
	for _, f := range faults[:min(len(faults), faultsMax)] {
		told = append(told, clipped(f))
	}
	list := strings.Join(told, ", ")
	switch n := len(faults); {
	case n > faultsMax:
		list += fmt.Sprintf(" and %s more", thousands(n-faultsMax))
	case n > 1:
		list = strings.Join(told[:n-1], ", ") + " and " + told[n-1]
	}
	return fmt.Sprintf("%s, while %s %s in force", text, list, plural(len(faults), "was", "were"))
}

const (
	listedMax = 8  // how many elements or ranges of them are listed
	faultsMax = 3  // how many faults are named
	quoteMax  = 60 // how much of an element is shown, in bytes
)

// listed names elements: where all end in numbers, in ranges.
func listed(points []Point) string {
	numbers, prefixes := numbered(points)
	if numbers == nil {
		return enumerate(len(points), func(i int) (string, int) { return quote(points[i].Element), 1 })
	}
	slices.SortFunc(numbers, func(a, b number) int {
		switch {
		case a.prefix != b.prefix:
			return a.prefix - b.prefix
		case a.n < b.n:
			return -1
		case a.n > b.n:
			return 1
		}
		return 0
	})
	name := func(x number) string { return clipped(prefixes[x.prefix]) + strconv.FormatInt(x.n, 10) }
	return enumerate(len(numbers), func(i int) (string, int) {
		j := i + 1
		for j < len(numbers) && numbers[j].prefix == numbers[i].prefix && (numbers[j].n == numbers[j-1].n || numbers[j].n-1 == numbers[j-1].n) {
			j++
		}
		if numbers[j-1] == numbers[i] {
			return name(numbers[i]), j - i
		}
		return name(numbers[i]) + "–" + name(numbers[j-1]), j - i
	})
}

// number is an element that ends in a number.
type number struct {
	prefix int // which one stands before it
	n      int64
}

// numbered are the elements as numbers, where all end in one, and what stands before
// them, in the order in which it first does.
func numbered(points []Point) (numbers []number, prefixes []string) {
	known := map[string]int{}
	numbers = make([]number, 0, len(points))
	last, at := "", -1 // most prefixes are as the one before
	for _, p := range points {
		prefix, n, ok := cutNumber(p.Element)
		if !ok {
			return nil, nil
		}
		if at < 0 || prefix != last {
			var isKnown bool
			if at, isKnown = known[prefix]; !isKnown {
				at = len(prefixes)
				known[prefix] = at
				prefixes = append(prefixes, prefix)
			}
			last = prefix
		}
		numbers = append(numbers, number{at, n})
	}
	return numbers, prefixes
}

// cutNumber cuts off the whole number in which a text ends. It is one that is written
// back as it was; what stands before it can be told without quotes.
func cutNumber(text string) (prefix string, n int64, ok bool) {
	from := len(text)
	for from > 0 && text[from-1] >= '0' && text[from-1] <= '9' {
		from--
	}
	if from == 0 || from == 1 && text[0] == '-' {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
			return "", n, true
		}
	}
	if len(text)-from > 18 {
		return "", 0, false
	}
	for from < len(text)-1 && text[from] == '0' {
		from++
	}
	if from == 0 || from == len(text) {
		return "", 0, false
	}
	for _, c := range text[:from] {
		if c <= ' ' || c > '~' || strings.ContainsRune("\"\\,;–", c) {
			return "", 0, false
		}
	}
	n, err := strconv.ParseInt(text[from:], 10, 64)
	return text[:from], n, err == nil
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

// quote is an element as a text shows it.
func quote(text string) string {
	if len(text) > quoteMax {
		return strconv.Quote(strings.ToValidUTF8(text[:quoteMax], "")) + "…"
	}
	return strconv.Quote(text)
}

// Clipped is a text that is shown without quotes: its first 60 bytes, where it is longer.
func Clipped(text string) string { return clipped(text) }

// clipped is a name that is shown without quotes.
func clipped(name string) string {
	if len(name) > quoteMax {
		return strings.ToValidUTF8(name[:quoteMax], "") + "…"
	}
	return name
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// counted is a number of things.
func counted(n int, noun string) string { return thousands(n) + " " + noun + plural(n, "", "s") }

// thousands is a number, not negative, with its digits in groups.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
