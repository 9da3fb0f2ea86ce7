package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Format is a form in which a run is written.
type Format struct {
	Name  string // as --format has it
	About string // one line
	Write func(r *Run, w io.Writer) error
}

// Formats are all forms, the page first.
func Formats() []Format {
	return []Format{
		{"html", "one page for a browser: verdict, sequence chart, timeline, plots, logs, script", WriteHTML},
		{"text", "the verdict and what led to it, in at most forty lines", writeText},
		{"json", "the same for programs", writeOverview},
		{"msc", "the sequence chart for mscgen", writeMSC},
		{"mermaid", "its last forty messages for Mermaid, as in Markdown on GitHub", WriteMermaid},
		{"svg", "its last part as a picture, as for a README", writeSVG},
		{"shiviz", "a log with vector clocks for ShiViz", writeShiviz},
		{"otlp", "OpenTelemetry's trace in JSON: a span a node, an await, a fault and an operation", writeOTLP},
		{"perfetto", "a trace that ui.perfetto.dev opens: nodes, awaits, faults, operations, messages", writePerfetto},
		{"junit", "the run as one test", writeJUnit},
	}
}

// FindFormat returns a form by its name.
func FindFormat(name string) (Format, error) {
	all := Formats()
	i := slices.IndexFunc(all, func(f Format) bool { return f.Name == name })
	if i < 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.Name)
		}
		return Format{}, fmt.Errorf("there is no format %q: one of %s was expected", name, strings.Join(names, ", "))
	}
	return all[i], nil
}
