package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// What a Mermaid chart has at most. GitHub refuses one of more than 50,000 characters.
const (
	mermaidArcs  = 40
	mermaidLanes = 12
	mermaidLabel = 60
)

// WriteMermaid writes the last forty messages of the run, with faults and exits among them
// and the verdict, as a sequence diagram for Mermaid. It has less than 50,000 characters,
// whatever the nodes are named and have said.
func WriteMermaid(r *Run, w io.Writer) error {
	c, err := newChart(r, mermaidArcs, mermaidLanes)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "sequenceDiagram")
	for i, name := range c.lanes {
		fmt.Fprintf(b, "  participant n%d as %s\n", i, mermaidText(cut(Visible(name), 40)))
	}
	if c.before > 0 {
		fmt.Fprintf(b, "  Note over n0: … %d before these\n", c.before)
	}
	for _, a := range c.arcs {
		label, to := mermaidText(a.label(mermaidLabel)), a.lanes[0]
		switch a.kind {
		case arcFork:
			fmt.Fprintf(b, "  n0-->>n%d: %s\n", to, label)
		case arcSent:
			fmt.Fprintf(b, "  n0->>n%d: %s\n", to, label)
		case arcReceived:
			fmt.Fprintf(b, "  n%d->>n0: %s\n", to, label)
		case arcExit:
			fmt.Fprintf(b, "  Note over n%d: ✕ %s\n", to, label)
		default:
			mark := map[arcKind]string{arcFault: "⚡ ", arcHeal: "✓ "}[a.kind]
			if a.kind == arcVerdict {
				a.lanes = []int{0, len(c.lanes) - 1}
				label = mermaidText(a.label(3 * mermaidLabel))
			}
			over := fmt.Sprintf("n%d", a.lanes[0])
			if last := a.lanes[len(a.lanes)-1]; last != a.lanes[0] {
				over += fmt.Sprintf(",n%d", last)
			}
			fmt.Fprintf(b, "  Note over %s: %s%s\n", over, mark, label)
		}
	}
	return b.Flush()
}

// mermaidText is a text with all that Mermaid, or the HTML it makes, could read as
// something else written as an entity.
func mermaidText(text string) string {
	var b strings.Builder
	for i, c := range text {
		switch {
		case unicode.IsLetter(c), unicode.IsDigit(c), c > unicode.MaxASCII && unicode.IsGraphic(c), strings.ContainsRune(" .,-_/=+×", c):
			b.WriteRune(c)
		case c == ':' && i > 4 && !strings.HasSuffix(text[:i], "wrap"): // which a text may begin with
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "#%d;", c)
		}
	}
	if b.Len() == 0 {
		return "#32;"
	}
	return b.String()
}
