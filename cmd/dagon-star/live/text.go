package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"github.com/dagon-star/dagon-star/runtime/report"
)

// Style is how a text is shown. Each but Plain tells something that the text tells too.
type Style int

// The styles.
const (
	Plain Style = iota
	Strong
	Faint
	Good
	Bad
	Warn
	Chosen // of the row that keys act on
)

// Span is a part of a line.
type Span struct {
	Text  string
	Style Style
}

// Line is one line of a terminal. What it has takes no more cells than there are, and
// nothing in it acts on the terminal.
type Line []Span

// String is the text of the line.
func (l Line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.Text)
	}
	return b.String()
}

// plain is a text on one line, whoever wrote it: what acts on a terminal is written out, and
// ends of lines and tabs are blanks.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return ' '
		}
		return c
	}, report.Visible(s))
}

// cells is how many cells of a terminal a plain text takes.
func cells(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return uniseg.StringWidth(s)
		}
	}
	return len(s)
}

// cut is what of a plain text fits into so many cells: all, or as much as leaves room for
// the "…" that says that it goes on. What takes no cell by itself is left out.
func cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if cells(s) == len(s) && len(s) <= width {
		return s
	}
	var b strings.Builder
	used, fits, state := 0, 0, -1 // fits is how much of b is left where the rest is cut
	for rest := s; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if w == 0 {
			continue
		}
		if used+w > width {
			return b.String()[:fits] + "…"
		}
		b.WriteString(cluster)
		if used += w; used <= width-1 {
			fits = b.Len()
		}
	}
	return b.String()
}

// pad is a plain text cut to so many cells, with blanks up to them: after it, or before it
// where it is to be on the right.
func pad(s string, width int, right bool) string {
	s = cut(s, width)
	blanks := strings.Repeat(" ", max(0, width-cells(s)))
	if right {
		return blanks + s
	}
	return s + blanks
}

// fit cuts a line to so many cells.
func fit(l Line, width int) Line {
	if cells(l.String()) <= width {
		return l
	}
	var out Line
	for _, s := range l {
		w := cells(s.Text)
		if w < width { // the "…" has a cell behind it
			out = append(out, s)
			width -= w
			continue
		}
		if s.Text = cut(s.Text+" ", width); s.Text != "" {
			out = append(out, s)
		}
		break
	}
	return out
}

// span is a duration in few characters, as "4.2s", "12s", "3m05s", "2h10m".
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// amount is a number of bytes in few characters, as "512K", "3.4M", "1.2G".
func amount(bytes int64) string {
	v, unit := float64(bytes)/1024, 0
	for ; v >= 1000 && unit < 3; unit++ {
		v /= 1024
	}
	if v < 10 && unit > 0 {
		return fmt.Sprintf("%.1f%c", v, "KMGT"[unit])
	}
	return fmt.Sprintf("%.0f%c", v, "KMGT"[unit])
}

// number is a count in few characters, as "9999", "12.3k", "4.5M".
func number(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 999_950:
		return fmt.Sprintf("%.1fk", float64(n)/1e3)
	case n < 999_950_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1fG", float64(n)/1e9)
}
