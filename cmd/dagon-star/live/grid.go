package live

import (
	"fmt"
	"slices"
	"time"
)

// column is a column of the table.
type column struct {
	title string
	right bool
	least int // cells that it is not cut below
	most  int // cells that it takes at most
	// first are the columns that are dropped last, from 0, where not all fit.
	first int
	cell  func(n *Node) (string, Style)
	width int
}

// grid is a table whose columns have their widths.
type grid struct {
	columns []column
	width   int
}

const (
	gap        = 1  // between two columns
	leastLast  = 16 // cells that the last lines of outputs get, or none
	leastName  = 8
	staleUsage = 3 * time.Second // what was used before that is not shown
)

// layout chooses the columns of a table that is so wide, and their widths: as wide as
// what is in them, up to a bound. Where that is too wide, columns are dropped, those that
// matter least first, and then names are cut. What is left is the last lines'.
func layout(s *State, now time.Duration, out Outputs, width int) grid {
	restarted, counted, operating := false, false, false
	for _, n := range s.Nodes {
		restarted = restarted || n.Restarts > 0
		counted = counted || n.Count > 0 || n.Total > 0
		operating = operating || n.UsedAt > 0
	}
	flow := func(f *Flow) (string, Style) {
		text := number(f.Count)
		if rate := f.Rate(now); rate > 0 {
			text += fmt.Sprintf(" %s/s", number(rate))
		}
		return text, Plain
	}
	columns := []column{
		{title: "node", least: leastName, most: min(max(width/5, 12), 24), first: 0, cell: func(n *Node) (string, Style) { return plain(n.Name), Plain }},
		{title: "state", least: 6, most: 13, first: 1, cell: stateText},
		{title: "for", right: true, least: 5, most: 6, first: 2, cell: func(n *Node) (string, Style) {
			if n.State == "" {
				return "", Plain
			}
			return span(now - n.Since), Plain
		}},
		{title: "pid", right: true, most: 8, first: 9, cell: func(n *Node) (string, Style) {
			if n.PID == 0 {
				return "", Plain
			}
			return fmt.Sprint(n.PID), Faint
		}},
	}
	if restarted {
		columns = append(columns, column{title: "restarts", right: true, most: 8, first: 6, cell: func(n *Node) (string, Style) {
			if n.Restarts == 0 {
				return "", Plain
			}
			return fmt.Sprint(n.Restarts), Warn
		}})
	}
	if operating {
		used := func(text func(n *Node) string) func(*Node) (string, Style) {
			return func(n *Node) (string, Style) {
				if n.UsedAt == 0 || n.Ended != "" || now-n.UsedAt > staleUsage {
					return "", Plain
				}
				return text(n), Plain
			}
		}
		columns = append(columns,
			column{title: "cpu", right: true, least: 4, most: 5, first: 3, cell: used(func(n *Node) string {
				if n.CPU < 0 {
					return ""
				}
				return fmt.Sprintf("%.0f%%", 100*n.CPU)
			})},
			column{title: "mem", right: true, least: 4, most: 5, first: 4, cell: used(func(n *Node) string { return amount(n.Usage.MemoryBytes) })})
	}
	columns = append(columns,
		column{title: "in", right: true, most: 13, first: 8, cell: func(n *Node) (string, Style) { return flow(&n.In) }},
		column{title: "out", right: true, most: 13, first: 7, cell: func(n *Node) (string, Style) { return flow(&n.Out) }})
	if counted {
		columns = append(columns, column{title: "done", right: true, most: 13, first: 5, cell: func(n *Node) (string, Style) {
			switch {
			case n.Total > 0:
				return fmt.Sprintf("%s/%s %d%%", number(n.Count), number(n.Total), min(100*n.Count/n.Total, 100)), Plain
			case n.Count > 0:
				return number(n.Count), Plain
			}
			return "", Plain
		}})
	}
	for i := range columns {
		c := &columns[i]
		c.width = max(cells(c.title), c.least)
		for _, n := range s.Nodes {
			if c.width >= c.most {
				break
			}
			text, _ := c.cell(n)
			c.width = max(c.width, cells(text))
		}
		c.width = min(c.width, max(c.most, cells(c.title)))
	}
	g := grid{columns: slices.Clone(columns), width: width}
	if !g.shrink(leastLast + gap) {
		g.columns = columns
		g.shrink(0)
	}
	if last := width - g.used() - gap; last >= leastLast && len(g.columns) > 1 {
		g.columns = append(g.columns, column{title: "last line", width: last, cell: func(n *Node) (string, Style) {
			return plain(out.Last[n.Name]), Faint
		}})
	}
	return g
}

// used is how wide the columns are.
func (g *grid) used() int {
	used := -gap
	for _, c := range g.columns {
		used += c.width + gap
	}
	return used
}

// shrink drops columns until the others leave so many cells, and reports whether they do:
// not those that matter most. Where nothing is to be left, it then cuts what is left of them.
func (g *grid) shrink(leave int) bool {
	const needed = 4 // name, state, time and processor, before there are last lines
	least := 2
	if leave > 0 {
		least = needed
	}
	for g.used()+leave > g.width && len(g.columns) > least {
		drop := 0
		for i, c := range g.columns {
			if c.first > g.columns[drop].first {
				drop = i
			}
		}
		g.columns = slices.Delete(g.columns, drop, drop+1)
	}
	if leave > 0 {
		return g.used()+leave <= g.width
	}
	if over := g.used() - g.width; over > 0 {
		g.columns[0].width = max(g.columns[0].width-over, min(leastName, g.width))
	}
	if over := g.used() - g.width; over > 0 && len(g.columns) > 1 {
		if g.columns[1].width -= over; g.columns[1].width < 1 {
			g.columns = g.columns[:1]
		}
	}
	return true
}

// titles is the line of the columns' titles.
func (g *grid) titles() Line {
	return g.line(func(c column) (string, Style) { return c.title, Faint })
}

// row is the line of a node.
func (g *grid) row(n *Node, chosen bool) Line {
	l := g.line(func(c column) (string, Style) { return c.cell(n) })
	if chosen {
		return Line{{pad(l.String(), g.width, false), Chosen}}
	}
	return l
}

func (g *grid) line(cell func(column) (string, Style)) Line {
	var l Line
	for i, c := range g.columns {
		if i > 0 {
			l = append(l, Span{" ", Plain})
		}
		text, style := cell(c)
		l = append(l, Span{pad(text, c.width, c.right), style})
	}
	return fit(l, g.width)
}

// stateText is how far a node is.
func stateText(n *Node) (string, Style) {
	switch {
	case n.Ended != "" && n.Unasked:
		return "exited " + n.Ended + "!", Bad
	case n.Ended != "":
		return "exited " + n.Ended, Faint
	case n.Paused:
		return "paused", Warn
	case n.State == "done_shutdown":
		return "ended", Faint
	case n.State == "":
		return "-", Faint
	case n.State == "forked":
		return n.State, Warn
	}
	return n.State, Good
}
