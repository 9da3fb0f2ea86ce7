package live

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// fold folds what happened: each at its second.
func fold(events ...event.Event) *State {
	s := &State{}
	for _, e := range events {
		s.Apply(e)
	}
	return s
}

func at(seconds float64, node string, d event.Detail) event.Event {
	return event.Event{T: time.Duration(seconds * float64(time.Second)), Node: node, Detail: d}
}

func forked(t float64, node string, incarnation int, argv ...string) []event.Event {
	return []event.Event{at(t, node, event.Forked{PID: 7, Incarnation: incarnation, Argv: argv}), at(t, node, event.State{To: "forked"})}
}

// TestFold is what is known of a run by its events.
func TestFold(t *testing.T) {
	started := at(0, "", event.RunStarted{Script: "a.star", Topology: "a.ini", Seed: 7, Nodes: []event.NodeSpec{{Name: "a"}, {Name: "b"}}})
	with := func(more ...event.Event) []event.Event { return append([]event.Event{started}, more...) }
	pause := at(2, "", event.FaultPlanned{ID: 1, What: "pause", Nodes: []string{"a"}, Lasting: true})
	for name, test := range map[string]struct {
		events []event.Event
		want   func(s *State) string
		is     string
	}{
		"nodes in the order of the ini": {with(), func(s *State) string { return s.Nodes[0].Name + s.Nodes[1].Name }, "ab"},
		"seed":                          {with(), func(s *State) string { return fmt.Sprint(s.Script, s.Topology, s.Seed) }, "a.stara.ini7"},
		"a state and since when": {with(forked(1, "a", 1)...), func(s *State) string {
			return fmt.Sprint(s.Nodes[0].State, s.Nodes[0].Since, s.Nodes[0].PID)
		}, "forked1s 7"},
		"restarts":           {with(forked(1, "a", 3)...), func(s *State) string { return fmt.Sprint(s.Nodes[0].Restarts) }, "2"},
		"paused":             {append(with(forked(1, "a", 1)...), pause), func(s *State) string { return fmt.Sprint(s.Nodes[0].Paused, s.Nodes[1].Paused) }, "true false"},
		"one that never ran": {with(pause), func(s *State) string { return fmt.Sprint(s.Nodes[0].Paused) }, "false"},
		"healed": {append(with(forked(1, "a", 1)...), pause, at(3, "", event.FaultHealed{ID: 1, Nodes: []string{"a"}})),
			func(s *State) string { return fmt.Sprint(s.Nodes[0].Paused) }, "false"},
		"not applied": {append(with(forked(1, "a", 1)...), pause, at(3, "", event.Abandoned{ID: 1})),
			func(s *State) string { return fmt.Sprint(s.Nodes[0].Paused) }, "false"},
		"resumed": {append(with(forked(1, "a", 1)...), pause, at(3, "", event.FaultPlanned{ID: 2, What: "resume", Nodes: []string{"a"}})),
			func(s *State) string { return fmt.Sprint(s.Nodes[0].Paused) }, "false"},
		"an exit": {append(with(forked(1, "a", 1)...), pause, at(3, "a", event.Exited{Code: 3}), at(3, "a", event.State{To: "exited"})),
			func(s *State) string {
				text, style := stateText(s.Nodes[0])
				return fmt.Sprint(text, style == Bad, s.Nodes[0].Paused)
			}, "exited 3!true false"},
		"forked again": {append(append(with(forked(1, "a", 1)...), at(3, "a", event.Exited{Code: -1, Signal: "KILL", Expected: true})), forked(4, "a", 2)...),
			func(s *State) string { text, _ := stateText(s.Nodes[0]); return text }, "forked"},
		"usage": {with(at(1, "a", event.Usage{CPUS: 1, MemoryBytes: 10}), at(1.5, "a", event.Usage{CPUS: 1.75, MemoryBytes: 20})),
			func(s *State) string { return fmt.Sprint(s.Nodes[0].CPU, s.Nodes[0].Usage.MemoryBytes) }, "1.5 20"},
		"one look": {with(at(1, "a", event.Usage{CPUS: 1})), func(s *State) string { return fmt.Sprint(s.Nodes[0].CPU) }, "-1"},
		"a wait": {with(at(1, "", event.Await{ID: 5, What: "x", TimeoutS: 30}), at(1, "", event.Await{ID: 6, What: "y", TimeoutS: 1.5}),
			at(2, "", event.AwaitEnded{ID: 5})), func(s *State) string { return fmt.Sprint(s.Waits) }, "[{6 y [] 1s 1.5s}]"},
		"progress": {with(at(1, "", event.Progress{N: 1, Total: 9}), at(1, "", event.Progress{N: 1, Total: 2, What: "x"}), at(2, "", event.Progress{N: 3, Total: 9})),
			func(s *State) string { return fmt.Sprint(s.Progress) }, "[{3 9 } {1 2 x}]"},
		"a count of how many": {append(with(forked(1, "a", 1, "dagon-star", "component", "giles-sender", "--messages=100")...),
			at(2, "a", event.Received{Address: "/count", Args: event.Args{"a", int64(40)}}),
			at(2, "a", event.Received{Address: "/count", Args: event.Args{"a", int32(30)}})),
			func(s *State) string { return fmt.Sprint(s.Nodes[0].Count, s.Nodes[0].Total) }, "40 100"},
		"a program of others": {with(forked(1, "a", 1, "server", "--messages=100")...), func(s *State) string { return fmt.Sprint(s.Nodes[0].Total) }, "0"},
		"flags in two words":  {with(forked(1, "a", 1, "d", "component", "x", "--expect", "12")...), func(s *State) string { return fmt.Sprint(s.Nodes[0].Total) }, "12"},
		"a flag without":      {with(forked(1, "a", 1, "d", "component", "x", "--expect")...), func(s *State) string { return fmt.Sprint(s.Nodes[0].Total) }, "0"},
		"operations": {with(at(1, "", event.Invoke{}), at(1, "", event.Invoke{}), at(1, "", event.Completed{Outcome: "ok"})),
			func(s *State) string { return fmt.Sprint(s.Began, s.Outcomes) }, "2 map[ok:1]"},
		"a node that the ini has not": {with(at(1, "z", event.Lost{})), func(s *State) string { return s.Nodes[2].Name }, "z"},
	} {
		if got := test.want(fold(test.events...)); got != test.is {
			t.Errorf("%s: %s, want %s", name, got, test.is)
		}
	}
}

// TestRate: a rate is that of the last whole second.
func TestRate(t *testing.T) {
	var f Flow
	for _, ms := range []int{100, 900, 1000, 1100, 1900, 4000} {
		f.add(time.Duration(ms) * time.Millisecond)
	}
	for ms, want := range map[int]int64{4100: 0, 5000: 1, 5999: 1, 6000: 0, 100_000: 0} {
		if got := f.Rate(time.Duration(ms) * time.Millisecond); got != want {
			t.Errorf("at %d ms: %d, want %d", ms, got, want)
		}
	}
	f = Flow{}
	f.add(100 * time.Millisecond)
	f.add(200 * time.Millisecond)
	f.add(1100 * time.Millisecond)
	if got := f.Rate(1500 * time.Millisecond); got != 2 || f.Count != 3 {
		t.Errorf("%d of %d, want 2 of 3", got, f.Count)
	}
}

// TestCut: what is cut says so, and no character is.
func TestCut(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"abcd", 1, "…"}, {"abcd", 0, ""}, {"", 3, ""},
		{"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"日本語", 2, "…"}, {"é́x", 2, "é́x"}, {"abé́x", 3, "ab…"},
	} {
		if got := cut(test.text, test.width); got != test.want {
			t.Errorf("%q in %d is %q, want %q", test.text, test.width, got, test.want)
		}
	}
	if got := plain("a\tb\nc\x1b[2J\xff\u202e"); got != `a b c\x1b[2J\xff\u202e` {
		t.Errorf("%q", got)
	}
}

// TestWords are numbers in few characters.
func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		span(0): "0.0s", span(9949 * time.Millisecond): "9.9s", span(12 * time.Second): "12s", span(185 * time.Second): "3m05s",
		span(-time.Second): "0.0s", span(130 * time.Minute): "2h10m", amount(0): "0K", amount(512 << 10): "512K", amount(3565158): "3.4M",
		amount(1000 << 20): "1.0G", number(9999): "9999", number(12_345): "12.3k", number(999_999): "1.0M", number(4_500_000_000): "4.5G",
		bar(0, 10): "---------- 0%", bar(3, 12): "##-------- 25%", bar(99, 9): "########## 100%",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestColumns: which columns there are on a terminal that is so wide.
func TestColumns(t *testing.T) {
	s := fold(forked(1, "a-node-with-a-long-name-indeed", 2)...)
	s.Apply(at(1, "b", event.Usage{CPUS: 1, MemoryBytes: 1}))
	s.Apply(at(2, "b", event.Received{Address: "/count", Args: event.Args{"b", int64(5)}}))
	for width, want := range map[int]string{
		120: "node state for pid restarts cpu mem in out done last line", 80: "node state for restarts cpu mem in out done last line",
		60: "node state for cpu mem done last line", 40: "node state for cpu mem done", 20: "node state", 12: "node st…", 3: "no…", 1: "…",
	} {
		g := layout(s, 2*time.Second, Outputs{}, width)
		titles := g.titles()
		if got := strings.Join(strings.Fields(titles.String()), " "); got != want || cells(titles.String()) > width {
			t.Errorf("%d cells: %q, want %q", width, got, want)
		}
	}
}

// TestFits: whatever there is, and whatever is looked at, on whatever terminal: no line is
// too wide, there are not too many, none acts on the terminal, and the chosen node is there.
func TestFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "worker-1", "日本語日本語", "e\u0301\u0301", "\x1b[2J\x07", "\xff\xfe", "long-" + strings.Repeat("x", 300), "\u202eabc", "👩‍👩‍👧", "\u200b"}
	word := func() string { return words[random.IntN(len(words))] }
	for range 3000 {
		s := &State{Script: word(), Topology: word(), Seed: random.Uint64()}
		for range random.IntN(40) {
			node := word() + fmt.Sprint(random.IntN(30))
			details := []event.Detail{event.Forked{PID: random.IntN(1 << 22), Incarnation: random.IntN(3)}, event.State{To: "done_shutdown"},
				event.Exited{Signal: "SEGV"}, event.Usage{CPUS: random.Float64() * 1e6, MemoryBytes: random.Int64()}, event.Await{What: word(), Nodes: []string{word()}},
				event.Progress{N: random.Int64(), Total: 1 + random.Int64N(1<<40), What: word()}, event.Received{Address: "/count", Args: event.Args{"", random.Int64()}},
				event.FaultPlanned{ID: random.Int64(), What: word(), Nodes: []string{word()}, Lasting: true}}
			s.Apply(at(random.Float64()*1e4, node, details[random.IntN(len(details))]))
		}
		v := &View{Page: Page(random.IntN(4)), Node: word(), Back: random.IntN(9), Ending: random.IntN(2) == 0}
		if len(s.Nodes) > 0 {
			v.Node = s.Nodes[random.IntN(len(s.Nodes))].Name
		}
		out := Outputs{Last: map[string]string{v.Node: word()}, Open: []string{word(), word()}}
		width, height := random.IntN(130), random.IntN(40)
		frame := Frame(s, v, s.Now, out, []string{word(), word(), word()}, width, height)
		if len(frame) > height {
			t.Fatalf("%d lines of %d", len(frame), height)
		}
		for _, l := range frame {
			if text := l.String(); cells(text) > width || strings.ContainsAny(text, "\x1b\x07\n\t\u202e") || strings.Contains(text, "\xff") {
				t.Fatalf("%q takes %d cells of %d", text, cells(text), width)
			}
		}
		chosen := slices.ContainsFunc(frame, func(l Line) bool { return len(l) == 1 && l[0].Style == Chosen })
		if v.Page == Table && len(s.Nodes) > 0 && height > 15 && width > 0 && !chosen {
			t.Fatalf("of %d nodes the chosen one is not there, in %d lines:\n%v", len(s.Nodes), height, frame)
		}
	}
}

// TestKeys is what keys do.
func TestKeys(t *testing.T) {
	s := &State{}
	for i := range 10 {
		s.node(fmt.Sprint("n", i))
	}
	for keys, want := range map[string]View{
		"":      {},
		"d":     {Node: "n1"},
		"u":     {Node: "n0"},
		"dddu":  {Node: "n2"},
		"P":     {Node: "n8"},
		"PPd":   {Node: "n9"},
		"de":    {Page: Output, Node: "n1"},
		"deu":   {Page: Output, Node: "n1", Back: 1},
		"deud":  {Page: Output, Node: "n1"},
		"ded":   {Page: Output, Node: "n1"},
		"deuuu": {Page: Output, Node: "n1", Back: 3},
		"dehx":  {Page: Table, Node: "n1"},
		"f":     {Page: Faults},
		"ff":    {Page: Table},
		"f?":    {Page: Help},
		"?x":    {Page: Table},
		"q":     {Ending: true},
	} {
		v := View{}
		asked := Nothing
		for _, k := range keys {
			asked = max(asked, v.Key(map[rune]Key{'d': Down, 'u': Up, 'P': PageDown, 'e': Enter, 'x': Escape, 'f': ShowFaults, '?': ShowHelp,
				'q': Quit, 'h': Home}[k], s, 10, 20))
		}
		if v != want || (asked == Interrupt) != want.Ending {
			t.Errorf("%q: %+v, want %+v", keys, v, want)
		}
	}
}

// TestTail is the end of a node's log.
func TestTail(t *testing.T) {
	for line, want := range map[string][2]string{
		"0.012345 --- incarnation 1": {"0.012", "--- incarnation 1"}, "1.034567 out+ Password?": {"1.034", "Password?"}, "2.5 err x y": {"2.5", "x y"},
		"2.056789 +out hunter2": {"2.056", "hunter2"}, "3.000000 out ": {"3.000", ""}, "none of it": {"", "none of it"}, "": {"", ""}, "1.000000 odd": {"1.000", "odd"},
	} {
		if at, text := parse(line); at != want[0] || text != want[1] {
			t.Errorf("%q is %q, %q", line, at, text)
		}
	}
	l := logs{folder: t.TempDir()}
	path := filepath.Join(l.folder, "logs", "n.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"0.1 out a\n": "a", "0.1 out a\n0.2 out half": "half", "0.1 out " + strings.Repeat("x", 3*lastBytes) + "\n0.3 out z\n": "z"} {
		l.last = nil
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got := l.lastLine("n"); got != want {
			t.Errorf("%.20q ends with %q", text, got)
		}
	}
	if got := l.lines("n"); len(got) == 0 || got[len(got)-1] == "" || l.lastLine("none") != "" || l.lines("none") != nil {
		t.Errorf("%q", got)
	}
}

// BenchmarkLive is the table of 100 nodes, each of which is looked at twice a second, says a
// hundred things and writes: what a second of it takes, as a share of a processor.
func BenchmarkLive(b *testing.B) {
	s := &Run{}
	var second []event.Event
	for i := range 100 {
		name := fmt.Sprint("worker-", i)
		for _, e := range forked(0, name, 1) {
			s.Observe(e)
		}
		for range 100 {
			second = append(second, at(0, name, event.Received{Address: "/count", Args: event.Args{name, int64(i)}}))
		}
		second = append(second, at(0.1, name, event.Usage{CPUS: 1, MemoryBytes: 1 << 20}), at(0.6, name, event.Usage{CPUS: 1.1, MemoryBytes: 1 << 20}))
	}
	for n := 0; b.Loop(); n++ {
		for _, e := range second {
			e.T += time.Duration(n) * time.Second
			s.Observe(e)
		}
		for range time.Second / paintEvery {
			s.Frame([]string{"a line", "another"}, 200, 50)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*100, "%core")
}
