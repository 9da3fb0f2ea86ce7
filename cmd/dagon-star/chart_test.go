//go:build unix

package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// documentedChart compares the arcs of a chart for mscgen with those of the documented
// lifecycle of the sample system: chart FILE. What the documents leave free may come in any
// order: when the leader has its topology, counts, exits, and who of two is first.
func documentedChart(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	names := map[string]string{}
	var entities []string
	for _, m := range regexp.MustCompile(`(?m)^  (n\d+) \[label="([^"]*)"\]`).FindAllStringSubmatch(text, -1) {
		names[m[1]] = m[2]
		entities = append(entities, m[2])
	}
	if got := strings.Join(entities, " "); got != "dagon-star giles-sender leader worker-1 worker-2 giles-receiver" {
		ts.Fatalf("the entities are %s", got)
	}
	var arcs []string // in the order in which they are drawn
	for _, m := range regexp.MustCompile(`(?m)^  (n\d+)(=>>?)(n\d+) \[label="(\w+)`).FindAllStringSubmatch(text, -1) {
		if m[1] == "n0" {
			arcs = append(arcs, names[m[3]]+" ← "+m[4])
		} else if m[4] != "count" {
			arcs = append(arcs, names[m[1]]+" "+m[4])
		}
	}
	// The documents' chart: a phase is over before the next begins; a line is a phase.
	const documented = `giles-receiver ← fork
giles-receiver ready
leader ← fork
leader ready
worker-1 ← fork
worker-1 ready
worker-2 ← fork
worker-2 ready
giles-sender ← fork
giles-sender ready
giles-sender ← start
giles-sender done, giles-receiver done
leader ← shutdown
leader done_shutdown
worker-1 ← shutdown, worker-2 ← shutdown, worker-1 done_shutdown, worker-2 done_shutdown
giles-sender ← shutdown
giles-sender done_shutdown
giles-receiver ← shutdown
giles-receiver done_shutdown`
	free := slices.Index(arcs, "leader topology_ready")
	if free < 0 {
		ts.Fatalf("the leader never has its topology")
	}
	arcs = slices.Delete(arcs, free, free+1)
	at := 0
	for phase := range strings.SplitSeq(documented, "\n") {
		want := strings.Split(phase, ", ")
		got := slices.Clone(arcs[min(at, len(arcs)):min(at+len(want), len(arcs))])
		slices.Sort(got)
		slices.Sort(want)
		if at += len(want); !slices.Equal(got, want) {
			ts.Fatalf("the chart has %q, and the documents %q", got, want)
		}
	}
	if at != len(arcs) {
		ts.Fatalf("%q is not in the documents", arcs[at:])
	}
	if !strings.Contains(text, `rbox n5 [label="passed"]`) {
		ts.Fatalf("no verdict")
	}
}
