package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

const compareMore = runsHelp + `
Tells of two runs side by side when nodes were ready, done and at their end, how
many messages they got and sent, their processors' time and memory; what was
awaited and how long; faults from planned to healed; operations by what became of
them, with their latencies. A row in which the two differ by a tenth or more, or
which only one has, is marked with *. The log of a run that was killed, or still
runs, is taken as far as it goes.

What two runs of one recipe should have in common, "dagon-star diff" compares.

Exit codes: 0 also where they differ; 2 a run that cannot be read.

Examples:
  dagon-star compare runs/20261124-111309-default latest
  dagon-star compare a b --json | jq .b.operations
`

func runCompare(c command) int {
	f := newFlags(c, "compare", "RUN RUN [FLAG...]", compareMore)
	asJSON := f.Bool("json", false, "print the numbers of both as one JSON object")
	runs := runsDir(f)
	if code, done := parse(c, f, 2, 2); done {
		return code
	}
	type one struct {
		Run     string `json:"run"`
		Verdict string `json:"verdict,omitempty"`
		*report.Numbers
	}
	var both struct {
		A one `json:"a"`
		B one `json:"b"`
	}
	for i, to := range []*one{&both.A, &both.B} {
		name, err := findRun(f.Arg(i), *runs, "events.jsonl")
		if err != nil {
			return c.mistake(f, err)
		}
		verdict, numbers, err := measure(name)
		if err != nil {
			return c.mistake(f, fmt.Errorf("%s: %w", name, err))
		}
		*to = one{relative(filepath.Dir(name)), verdict, numbers}
	}
	if *asJSON {
		data, err := exact.MarshalIndent(both, "  ")
		if err != nil {
			return c.mistake(f, err)
		}
		fmt.Fprintf(harmless{c.rawStdout, report.VisibleJSON}, "%s\n", data)
		return exitPassed
	}
	fmt.Fprintf(c.stdout, "a: %s, %s\nb: %s, %s\n", both.A.Run, orNone(both.A.Verdict), both.B.Run, orNone(both.B.Verdict))
	c.sideBySide(rows(both.A.Numbers), rows(both.B.Numbers))
	return exitPassed
}

func orNone(verdict string) string {
	if verdict == "" {
		return "no verdict"
	}
	return verdict
}

// measure reads the numbers of a log, and its verdict.
func measure(name string) (verdict string, n *report.Numbers, err error) {
	file, _, err := userfile.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	n, err = report.Measure(func(yield func(event.Event, error) bool) {
		for e, err := range event.All(file) {
			if d, ok := e.Detail.(event.Verdict); ok {
				verdict = d.Outcome
			}
			if !yield(e, err) {
				return
			}
		}
	})
	return verdict, n, err
}

// row is a number of a run, or several, under a name of its own in a part.
type row struct {
	part, name string
	values     []float64 // less than 0 for what is not
	text       string
}

func rows(n *report.Numbers) (all []row) {
	value := func(s *float64) float64 {
		if s == nil {
			return -1
		}
		return *s
	}
	count := map[string]int{}
	add := func(part, name, text string, values ...float64) {
		key := part + "\x00" + name
		if count[key]++; count[key] > 1 {
			name = fmt.Sprintf("%s #%d", name, count[key])
		}
		all = append(all, row{part, name, values, text})
	}
	add("run", "duration", at(n.DurationS), n.DurationS)
	for _, x := range n.Nodes {
		times := []float64{value(x.ReadyS), value(x.DoneS), value(x.ExitedS)}
		add("nodes: ready, done, exited", x.Node, fmt.Sprintf("%s %s %s", at(times[0]), at(times[1]), at(times[2])), times...)
	}
	for _, x := range n.Nodes {
		add("messages: in, out", x.Node, fmt.Sprintf("%d %d", x.In, x.Out), float64(x.In), float64(x.Out))
	}
	for _, x := range n.Nodes {
		add("processor, memory, incarnations", x.Node, fmt.Sprintf("%s %s %d", at(x.CPUS), bytesText(x.MaxRSSKB<<10), x.Incarnations),
			x.CPUS, float64(x.MaxRSSKB), float64(x.Incarnations))
	}
	for _, x := range n.Awaits {
		text := x.Ended
		if text == "" {
			text = "not ended"
		}
		add("awaits: how long", x.What, at(x.WaitedS)+" "+text, x.WaitedS, float64(len(text)))
	}
	for _, x := range n.Faults {
		applied, healed := value(x.AppliedS), value(x.HealedS)
		add("faults: planned, applied, healed, touched", x.What, fmt.Sprintf("%s %s %s %d", at(x.PlannedS), at(applied), at(healed), x.Touched),
			x.PlannedS, applied, healed, float64(x.Touched))
	}
	for _, x := range n.Operations {
		outcome := x.Outcome
		if outcome == "" {
			outcome = "not completed"
		}
		add("operations: count; min, median, p99, max", x.F+" "+outcome, fmt.Sprintf("%d; %s %s %s %s", x.Count, at(x.MinS), at(x.MedianS),
			at(x.P99S), at(x.MaxS)), float64(x.Count), x.MinS, x.MedianS, x.P99S, x.MaxS)
	}
	return all
}

// at is a time as a cell shows it.
func at(s float64) string {
	if s < 0 {
		return "-"
	}
	return fmt.Sprintf("%.3fs", s)
}

// paired are the rows of two runs by part and name, in the order of a, with those that only
// b has at the end of their part.
func paired(a, b []row) (all [][2]*row) {
	type key struct{ part, name string }
	find := map[key]*row{}
	for i := range b {
		find[key{b[i].part, b[i].name}] = &b[i]
	}
	used := map[*row]bool{}
	var parts []string
	byPart := map[string][][2]*row{}
	add := func(part string, pair [2]*row) {
		if byPart[part] == nil {
			parts = append(parts, part)
		}
		byPart[part] = append(byPart[part], pair)
	}
	for i := range a {
		other := find[key{a[i].part, a[i].name}]
		used[other] = true
		add(a[i].part, [2]*row{&a[i], other})
	}
	for i := range b {
		if !used[&b[i]] {
			add(b[i].part, [2]*row{nil, &b[i]})
		}
	}
	for _, part := range parts {
		all = append(all, byPart[part]...)
	}
	return all
}

// differs reports whether two rows differ by a tenth or more in one of their values, and by
// more than a millisecond where they are small.
func differs(pair [2]*row) bool {
	a, b := pair[0], pair[1]
	if a == nil || b == nil {
		return true
	}
	for i, x := range a.values {
		y := b.values[i]
		if (x < 0) != (y < 0) || max(x, y)-min(x, y) >= max(0.1*max(x, y), 0.001) && x != y {
			return true
		}
	}
	return false
}

func (c command) sideBySide(a, b []row) {
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	part := ""
	for _, pair := range paired(a, b) {
		either := pair[0]
		if either == nil {
			either = pair[1]
		}
		if either.part != part {
			part = either.part
			t.Flush()
			fmt.Fprintf(t, "\n%s\n", part)
		}
		mark, texts := " ", [2]string{"none", "none"}
		for i, r := range pair {
			if r != nil {
				texts[i] = r.text
			}
		}
		if differs(pair) {
			mark = "*"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\n", mark, strings.Join(strings.Fields(report.Visible(either.name)), " "), texts[0], texts[1])
	}
	t.Flush()
}
