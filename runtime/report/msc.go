package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// What a chart for mscgen has at most.
const (
	mscArcs  = 2000
	mscLanes = 60
)

// writeMSC writes the run as text for mscgen.
func writeMSC(r *Run, w io.Writer) error {
	c, err := newChart(r, mscArcs, mscLanes)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# %s\n# dagon-star report RUN --format msc | mscgen -T svg -o chart.svg\nmsc {\n", r.title())
	fmt.Fprintf(b, "  hscale=\"%.1f\", wordwraparcs=\"1\";\n\n", max(1, float64(len(c.lanes))/4))
	for i, name := range c.lanes {
		end := ","
		if i == len(c.lanes)-1 {
			end = ";"
		}
		fmt.Fprintf(b, "  n%d [label=%s]%s\n", i, mscString(cut(Visible(name), 60)), end)
	}
	fmt.Fprintln(b)
	if c.before > 0 {
		fmt.Fprintf(b, "  --- [label=\"%d arcs before these are left out\"];\n", c.before)
	}
	for _, a := range c.arcs {
		fmt.Fprintf(b, "  %s;\n", a.msc(len(c.lanes)))
	}
	fmt.Fprintln(b, "}")
	return b.Flush()
}

// msc is the arc in mscgen's language.
func (a *arc) msc(lanes int) string {
	label, to := mscString(a.label(160)), a.lanes[0]
	switch a.kind {
	case arcFork:
		return fmt.Sprintf(`n0=>>n%d [label=%s, linecolour="#1f6f43", textcolour="#1f6f43"]`, to, label)
	case arcSent:
		return fmt.Sprintf("n0=>n%d [label=%s]", to, label)
	case arcReceived:
		return fmt.Sprintf("n%d=>n0 [label=%s]", to, label)
	case arcVerdict:
		return fmt.Sprintf("n0 rbox n%d [label=%s%s]", lanes-1, label, mscColour(a.bad))
	}
	shape := map[arcKind]string{arcNote: "note", arcExit: "abox", arcFault: "box", arcHeal: "rbox"}[a.kind]
	var boxes []string
	for _, s := range laneSpans(a.lanes) {
		boxes = append(boxes, fmt.Sprintf("n%d %s n%d [label=%s%s]", s[0], shape, s[1], label, mscColour(a.bad || a.kind == arcFault)))
	}
	return strings.Join(boxes, ", ")
}

func mscColour(bad bool) string {
	if bad {
		return `, textbgcolour="#ffe0e0"`
	}
	return ""
}

// mscString is a text as a string of mscgen. There a backslash is itself, unless an n or a
// quote follows it.
func mscString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range []byte(text) {
		switch {
		case c == '"':
			b.WriteString(`\"`)
		case c == '\\' && (i == len(text)-1 || text[i+1] == 'n' || text[i+1] == '"'):
			b.WriteString(`\ `)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
