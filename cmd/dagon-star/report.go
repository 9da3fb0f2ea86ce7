package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

const reportMore = `
RUN is the folder of a run, its name in the folder of runs, or latest. A run that was
killed, or that still runs, is told as far as its log goes.

Examples:
  dagon-star report latest                       writes runs/latest/report.html
  dagon-star report latest --format text
  dagon-star report latest --format json --output -
`

// chartOf is the end of a run's sequence chart, for Mermaid; "" where it cannot be read.
func chartOf(folder string) string {
	var text strings.Builder
	r, err := report.Open(folder, os.DirFS(folder))
	if err != nil || report.WriteMermaid(r, &text) != nil {
		return ""
	}
	return text.String()
}

func runReport(c command) int {
	var about strings.Builder
	about.WriteString("\nFormats:\n")
	for _, f := range report.Formats() {
		fmt.Fprintf(&about, "  %-10s %s\n", f.Name, f.About)
	}
	f := newFlags(c, "report", "RUN [FLAG...]", about.String()+reportMore)
	name := f.StringP("format", "f", "html", "the form, see below")
	output := f.StringP("output", "o", "", "the file to write, - for the standard output; without it that, and for html report.html in the run's folder")
	runs := runsDir(f)
	if code, done := parse(c, f, 1, 1); done {
		return code
	}
	format, err := report.FindFormat(*name)
	if err != nil {
		return c.mistake(f, err)
	}
	log, err := findRun(f.Arg(0), *runs, "events.jsonl")
	if err != nil {
		return c.mistake(f, err)
	}
	run, err := report.Open(relative(filepath.Dir(log)), os.DirFS(filepath.Dir(log)))
	if err != nil {
		return c.mistake(f, err)
	}
	if *output == "" && format.Name == "html" {
		*output = filepath.Join(filepath.Dir(log), report.PageName)
	}
	if *output == "" || *output == "-" {
		to := c.rawStdout
		if format.Name == "text" { // for a person
			to = c.stdout
		}
		err = format.Write(run, to)
	} else if err = userfile.Write(*output, func(w io.Writer) error { return format.Write(run, w) }); err == nil {
		fmt.Fprintln(c.stdout, relative(*output))
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "dagon-star report: %v\n", err)
		return exitUnwritten
	}
	return exitPassed
}
