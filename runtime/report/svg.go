package report

import (
	"bufio"
	"fmt"
	"html"
	"io"
)

// What a chart as a picture has at most, and its measures in pixels.
const (
	svgArcs  = 150
	svgLanes = 16

	svgLane = 150
	svgRow  = 24
	svgHead = 70
)

// svgStyle has the colours, light and dark.
const svgStyle = `text{font:12px system-ui,sans-serif;fill:#1f2328}line,path{stroke:#57606a;fill:none}rect{fill:#fff;stroke:#57606a}
.page{fill:#fff;stroke:none}.fork{stroke:#1a7f37;stroke-dasharray:5 3}.bad{fill:#ffebe9;stroke:#cf222e}.life{stroke:#d0d7de}.head{fill:#57606a;stroke:none}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}line,path{stroke:#8b949e}rect{fill:#161b22;stroke:#8b949e}.page{fill:#0d1117}
.fork{stroke:#3fb950}.bad{fill:#3c1618;stroke:#f85149}.life{stroke:#30363d}.head{fill:#8b949e}}`

// writeSVG writes the chart as one picture, of bounded size, which asks nothing of
// anywhere.
func writeSVG(r *Run, w io.Writer) error {
	c, err := newChart(r, svgArcs, svgLanes)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	text := func(s string, most int) string { return html.EscapeString(cut(Visible(s), most)) }
	x := func(lane int) int { return svgLane/2 + lane*svgLane }
	width, height := max(len(c.lanes)*svgLane, 3*svgLane), svgHead+(len(c.arcs)+2)*svgRow
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">
<title id="title">%s</title>
<desc id="desc">A sequence chart: what passed between the host and the nodes, from the top to the bottom.</desc>
<style>%s</style>
<rect class="page" width="100%%" height="100%%"/>
<text x="8" y="18">%s</text>
`, width, height, width, height, html.EscapeString(r.title()), svgStyle, text(r.title(), width/7))
	for i, name := range c.lanes {
		fmt.Fprintf(b, "<line class=\"life\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-weight=\"bold\">%s</text>\n",
			x(i), svgHead-18, x(i), height-8, x(i), svgHead-24, text(name, 20))
	}
	y := svgHead
	if c.before > 0 {
		fmt.Fprintf(b, "<text x=\"8\" y=\"%d\">… %d before these</text>\n", y, c.before)
	}
	for _, a := range c.arcs {
		y += svgRow
		label := html.EscapeString(a.label(60))
		from, to, class := 0, a.lanes[0], "sent"
		switch a.kind {
		case arcReceived:
			from, to = to, 0
		case arcFork:
			class = "fork"
		case arcSent:
		default:
			if class = "note"; a.bad || a.kind == arcFault {
				class = "bad"
			}
			mark := map[arcKind]string{arcExit: "✕ ", arcFault: "⚡ ", arcHeal: "✓ "}[a.kind]
			boxes := laneSpans(a.lanes)
			if a.kind == arcVerdict {
				boxes = [][2]int{{0, len(c.lanes) - 1}}
			}
			for _, box := range boxes {
				first, last := x(box[0]), x(box[1])
				fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\"/>"+
					"<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
					class, first-svgLane/2+4, y-15, last-first+svgLane-8, svgRow-4, (first+last)/2, y,
					mark+html.EscapeString(a.label(max(20, (last-first+svgLane)/7))))
			}
			continue
		}
		tip := 8
		if from < to {
			tip = -8
		}
		fmt.Fprintf(b, "<line class=\"%s\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><path class=\"head\" d=\"M%d %dl%d -4v8z\"/>"+
			"<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			class, x(from), y+3, x(to), y+3, x(to), y+3, tip, x(max(from, to))-svgLane/2, y-1, label)
	}
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}
