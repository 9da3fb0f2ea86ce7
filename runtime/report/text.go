package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// What is told of a run in text.
const (
	mostCulprits = 4
	mostFaults   = 4
	mostNodes    = 16
	mostBeside   = 4
	mostInForce  = 8   // faults in all
	mostLine     = 700 // characters, but for the line that repeats the run
)

// writeText tells what the first screen of the page does, in at most forty lines: who
// broke, when, under which faults, what each node had said last, and how the run is
// repeated.
func writeText(r *Run, w io.Writer) error {
	b := bufio.NewWriter(w)
	line := func(format string, args ...any) {
		text := []rune(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`))
		if len(text) > mostLine {
			text = append(text[:mostLine-1], '…')
		}
		fmt.Fprintln(b, string(text))
	}
	line("%s", r.headline())
	if r.Where != "" {
		source := r.Line(r.Where)
		if source != "" {
			source = "  " + source
		}
		line("  at      %s%s", r.Where, source)
	}
	for _, a := range r.Awaits[max(0, len(r.Awaits)-3):] {
		line("  waiting %s", a.text())
	}
	faults := r.LastFaults(mostFaults)
	if more := len(faults) - mostInForce; more > 0 {
		line("  fault   … and %d more in force", more)
		faults = faults[more:]
	}
	for _, f := range faults {
		line("  fault   %s", f.text())
	}
	for i, n := range r.byInterest() {
		if i == mostNodes {
			line("  … and %d more nodes", len(r.Nodes)-mostNodes)
			break
		}
		line("  node    %s", n.text())
	}
	told := 0
	for _, f := range r.Findings {
		if f.Seq == r.BrokeSeq || f.Reason == r.Reason || told == mostBeside {
			continue
		}
		told++
		line("  beside  %s: %s", f.Outcome, cut(f.Reason, 160))
	}
	line("  run     %s", r.Folder)
	if r.Started.Repeat != "" {
		fmt.Fprintf(b, "  repeat  %s\n", strings.ReplaceAll(r.Started.Repeat, "\n", `\n`))
	}
	return b.Flush()
}

// headline is the verdict in a line.
func (o *Overview) headline() string {
	text := o.Outcome
	if o.Passed() {
		return fmt.Sprintf("%s after %.3f s", text, o.EndS)
	}
	text = fmt.Sprintf("%s at %.3f s", text, o.BrokeS)
	if o.Outcome == Unfinished {
		text += ": the log ends there"
	} else if o.Reason != "" {
		text += ": " + cut(o.Reason, 600)
	}
	return text
}

// byInterest are the nodes: the culprits first, then those that exited as nobody had asked
// for, then the others.
func (o *Overview) byInterest() []NodeOverview {
	var ranked [3][]NodeOverview
	for _, n := range o.Nodes {
		rank := 2
		for _, c := range o.Culprits {
			if c == n.Name {
				rank = 0
			}
		}
		if rank == 2 && n.Unexpected != "" {
			rank = 1
		}
		ranked[rank] = append(ranked[rank], n)
	}
	return append(append(ranked[0], ranked[1]...), ranked[2]...)
}

func (a AwaitLife) text() string {
	of := ""
	if names := a.Nodes; len(names) > 0 {
		of = " of " + some(names)
	}
	text := fmt.Sprintf("%s%s, since %.3f s, at most %g s", a.What, of, a.BeganS, a.TimeoutS)
	if a.Ended != "" {
		text += ": " + a.Ended
		if len(a.Missing) > 0 {
			text += ", without " + some(a.Missing)
		}
	}
	return text
}

func (f FaultLife) text() string {
	text := fmt.Sprintf("%s at %.3f s", cut(f.Title, 120), f.AppliedS)
	switch {
	case f.InForce:
		text += ", in force"
	case f.HealedS >= 0:
		text += fmt.Sprintf(", healed at %.3f s", f.HealedS)
	}
	if f.Outcome != "" {
		text += ": " + cut(f.Outcome, 80)
	}
	return text
}

// text is the node in a line: its state, what it had said last, and what it had written.
func (n NodeOverview) text() string {
	state := n.State
	switch {
	case n.State == "":
		state = "not forked"
	case n.Exit != "" && n.State == "exited":
		state = fmt.Sprintf("exited %s at %.3f s", n.Exit, n.ExitS)
	case n.Paused:
		state += ", paused"
	}
	text := n.Name + "  " + state
	if n.Unexpected != "" {
		text += " (" + cut(n.Unexpected, 60) + ")"
	}
	if n.Said != "" {
		text += fmt.Sprintf("; said %s at %.3f s", n.Said, n.SaidS)
	}
	if n.Output != "" {
		text += fmt.Sprintf("; wrote %q at %.3f s", cut(n.Output, 100), n.OutputS)
	}
	return text
}

// some names the first of nodes, and how many more there are.
func some(names []string) string {
	if more := len(names) - mostCulprits; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostCulprits], " "), more)
	}
	return strings.Join(names, " ")
}

// cut is a text as one line, of at most so many characters.
func cut(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
