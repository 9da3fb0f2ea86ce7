package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/fault"
)

// Outputs are what nodes have written, as far as it is shown.
type Outputs struct {
	Last map[string]string // the last line of each node
	Open []string          // the last lines of the node that is looked at
}

// Frame is what a terminal of so many columns and rows shows of a run, at a time of the
// run, to who looks at it as v says. lines are the last that the run has printed. It is at
// most so high, and no line is wider.
func Frame(s *State, v *View, now time.Duration, out Outputs, lines []string, width, height int) []Line {
	if width < 1 || height < 1 {
		return nil
	}
	var frame []Line
	switch v.Page {
	case Help:
		frame = help()
	case Faults:
		frame = faults(s, now, height)
	case Output:
		frame = output(s, v, out, height)
	default:
		return table(s, v, now, out, lines, width, height)
	}
	return fitAll(frame, width, height)
}

func fitAll(frame []Line, width, height int) []Line {
	frame = frame[:min(len(frame), height)]
	for i := range frame {
		frame[i] = fit(frame[i], width)
	}
	return frame
}

func help() []Line {
	var frame []Line
	for _, text := range []string{"Keys", "", "↑ ↓    choose a node (k j)", "Enter  its output; ↑ ↓ PgUp PgDn go through it, End follows it",
		"f      the faults", "q      end the run in order; once more: at once", "Ctrl-C the same", "Ctrl-Z stop, until fg",
		"Ctrl-L paint anew", "?      this", "Esc    back to the table"} {
		frame = append(frame, Line{{text, Plain}})
	}
	frame[0][0].Style = Strong
	return frame
}

// faults is the page of faults: those in force first, then the others, the last first.
func faults(s *State, now time.Duration, height int) []Line {
	frame := []Line{{{"Faults", Strong}, {"  Esc: back", Faint}}}
	var inForce, others []Line
	for _, r := range slices.Backward(s.Faults.Records()) {
		switch {
		case r.InForce(now):
			inForce = append(inForce, Line{{fmt.Sprintf("%8s  ", span(r.T)), Plain}, {"in force  ", Warn}, {plain(faultText(r)), Plain}})
		case len(others) < height:
			others = append(others, Line{{fmt.Sprintf("%8s  ", span(r.T)), Plain}, {plain(faultText(r) + ": " + faultOutcome(r)), Faint}})
		}
	}
	if len(inForce)+len(others) == 0 {
		frame = append(frame, Line{{"there is none so far", Faint}})
	}
	return slices.Concat(frame, inForce, others)
}

func faultText(r *fault.Record) string {
	text := r.Title()
	if touched := fault.TouchedText(r.Touched); r.Touched.Total() > 0 {
		text += ", " + touched
	}
	return text
}

func faultOutcome(r *fault.Record) string {
	if outcome := r.Outcome(); outcome != "" {
		return outcome
	}
	return "planned"
}

// output is the page of a node's output: its end, or so many lines before it.
func output(s *State, v *View, out Outputs, height int) []Line {
	head := Line{{plain(v.Node), Strong}}
	if n := s.Node(v.Node); n != nil {
		text, style := stateText(n)
		head = append(head, Span{"  " + text, style})
	}
	hint := "  Esc: back"
	if v.Back > 0 {
		hint = fmt.Sprintf("  %d lines below; End: follow", v.Back)
	}
	frame := []Line{append(head, Span{hint, Faint})}
	end := max(len(out.Open)-v.Back, 0)
	for _, line := range out.Open[max(0, end-max(height-1, 0)):end] {
		frame = append(frame, Line{{plain(line), Plain}})
	}
	if len(out.Open) == 0 {
		frame = append(frame, Line{{"it has written nothing", Faint}})
	}
	return frame
}

// Of what stands above the rows of a table.
const (
	maxWaits    = 3
	maxProgress = 3
	maxFaults   = 2
	leastLines  = 3 // of what the run prints, where there is room for more than the table's head
)

// table is the page of the table, at the bottom of the terminal, with the last lines above.
func table(s *State, v *View, now time.Duration, out Outputs, lines []string, width, height int) []Line {
	head := fitAll(tableHead(s, now), width, height)
	foot := Line{{"↑↓ Enter output  f faults  ? help  q end", Faint}}
	if v.Ending {
		foot = Line{{"ending in order; ", Warn}, {"q again: at once", Strong}}
	}
	// Of the rows, as many as there is room for, with the chosen one among them.
	room := height - len(head) - 2 // the titles of the columns and the foot
	rows := len(s.Nodes)
	if spare := room - leastLines; rows > spare && spare >= 1 {
		rows = spare
	}
	rows = max(min(rows, room), 0)
	chosen := v.chosen(s)
	first := 0
	if rows > 0 {
		first = min(max(0, chosen-rows/2), len(s.Nodes)-rows)
	}
	var frame []Line
	if above := height - len(head) - rows - 2; above > 0 {
		for _, line := range lines[max(0, len(lines)-above):] {
			frame = append(frame, fit(Line{{plain(line), Plain}}, width))
		}
	}
	frame = append(frame, head...)
	grid := layout(s, now, out, width)
	frame = append(frame, grid.titles())
	for i, n := range s.Nodes[first : first+rows] {
		frame = append(frame, grid.row(n, first+i == chosen))
	}
	if hidden := len(s.Nodes) - rows; hidden > 0 {
		foot = append(Line{{fmt.Sprintf("%d-%d of %d nodes  ", first+1, first+rows, len(s.Nodes)), Plain}}, foot...)
	}
	frame = append(frame, fit(foot, width))
	return frame[max(0, len(frame)-height):]
}

// tableHead is what stands above the table: what is run, what the script waits for, how far
// it is, and the faults in force.
func tableHead(s *State, now time.Duration) []Line {
	title := plain(s.Script)
	if s.Topology != "" {
		title += " " + plain(s.Topology)
	}
	head := []Line{{{title, Strong}, {fmt.Sprintf("  %s  seed %d", span(now), s.Seed), Plain}}}
	if s.Began > 0 {
		head[0] = append(head[0], Span{fmt.Sprintf("  operations %d: %d ok, %d fail, %d info", s.Began, s.Outcomes["ok"],
			s.Outcomes["fail"], s.Outcomes["info"]), Plain})
	}
	first := max(0, len(s.Waits)-maxWaits)
	for _, w := range s.Waits[first:] {
		text := fmt.Sprintf("waits %s of %s for %s", span(now-w.Since), span(w.Timeout), plain(w.What))
		if len(w.Nodes) > 0 && !strings.Contains(w.What, w.Nodes[0]) {
			text += " " + plain(strings.Join(w.Nodes[:min(len(w.Nodes), 20)], " "))
		}
		head = append(head, Line{{text, Plain}})
	}
	if first > 0 {
		head = append(head, Line{{fmt.Sprintf("and for %d more", first), Plain}})
	}
	if len(s.Waits) == 0 && s.Ending {
		head = append(head, Line{{"the run ends", Warn}})
	}
	for _, p := range s.Progress[max(0, len(s.Progress)-maxProgress):] {
		what := plain(p.What)
		if what != "" {
			what += " "
		}
		head = append(head, Line{{fmt.Sprintf("%s%d of %d  %s", what, p.N, p.Total, bar(p.N, p.Total)), Plain}})
	}
	var inForce []string
	for _, r := range s.Faults.Records() {
		if r.InForce(now) {
			inForce = append(inForce, plain(faultText(r)))
		}
	}
	for i, text := range inForce {
		if i == maxFaults && len(inForce) > maxFaults {
			head = append(head, Line{{fmt.Sprintf("and %d more faults in force (f)", len(inForce)-maxFaults), Warn}})
			break
		}
		head = append(head, Line{{"fault " + text, Warn}})
	}
	return head
}

// bar is a bar of ten cells, with the share in percent.
func bar(n, total int64) string {
	percent := min(max(100*float64(n)/float64(total), 0), 100)
	full := int(percent / 10)
	return strings.Repeat("#", full) + strings.Repeat("-", 10-full) + fmt.Sprintf(" %d%%", int(percent))
}
