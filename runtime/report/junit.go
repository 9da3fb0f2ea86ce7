// Package report writes what runs came to for other programs to read, and compares
// runs.
package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// Test is what became of one test.
type Test struct {
	File    string `json:"file"`
	Name    string `json:"test"` // "" is the whole script
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Where   string `json:"where,omitempty"` // file:line:col
	// Source and Line are the file and the line that the test is written at; "" and 0
	// where that is no file.
	Source    string  `json:"source,omitempty"`
	Line      int     `json:"line,omitempty"`
	Seed      uint64  `json:"seed"`
	DurationS float64 `json:"duration_s"`
	Folder    string  `json:"run,omitempty"`
	Repeat    string  `json:"repeat,omitempty"` // the command line that repeats it
	Output    string  `json:"-"`                // its last lines
	// Beside is what was found beside what decided the outcome.
	Beside []string `json:"beside,omitempty"`
}

// The outcomes of a test beside those of a run.
const (
	Skipped = "skipped" // the machine cannot do what it needs
	Broken  = "broken"  // the script or the ini is at fault, and nothing was forked
	NotRun  = "not run" // an earlier test, or a signal, had ended them all
)

// Title is the name by which a test is chosen and shown, such as
// "cluster.star:test_kill[TERM]".
func (t Test) Title() string {
	if t.Name == "" {
		return t.File
	}
	return t.File + ":" + t.Name
}

// Summary is what became of a number of tests, as tests.json has it.
type Summary struct {
	Format    int            `json:"format"`
	Seed      uint64         `json:"seed"`
	StartedAt time.Time      `json:"started_at"`
	DurationS float64        `json:"duration_s"`
	Counts    map[string]int `json:"counts"`          // by outcome
	Flags     []string       `json:"flags,omitempty"` // given, of those that change what a test's run does
	Tests     []Test         `json:"tests"`
}

// Format is that of a Summary that this version writes.
const SummaryFormat = 1

// The elements of a JUnit file, as Jenkins, GitLab and others read them.
type (
	testsuites struct {
		XMLName  xml.Name    `xml:"testsuites"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Suites   []testsuite `xml:"testsuite"`
	}
	testsuite struct {
		Name      string     `xml:"name,attr"`
		Tests     int        `xml:"tests,attr"`
		Failures  int        `xml:"failures,attr"`
		Errors    int        `xml:"errors,attr"`
		Skipped   int        `xml:"skipped,attr"`
		Time      string     `xml:"time,attr"`
		Timestamp string     `xml:"timestamp,attr"`
		Cases     []testcase `xml:"testcase"`
	}
	testcase struct {
		Name       string     `xml:"name,attr"`
		Classname  string     `xml:"classname,attr"`
		Time       string     `xml:"time,attr"`
		File       string     `xml:"file,attr,omitempty"`
		Line       int        `xml:"line,attr,omitempty"`
		Properties []property `xml:"properties>property"`
		Failure    *problem   `xml:"failure"`
		Error      *problem   `xml:"error"`
		Skipped    *problem   `xml:"skipped"`
		Out        string     `xml:"system-out,omitempty"`
		Err        string     `xml:"system-err,omitempty"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	problem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes a summary as a JUnit file: a suite for each script. What
// failed is a failure; what is inconclusive, interrupted or broken an error; what was
// not run is skipped.
func WriteJUnit(w io.Writer, s Summary) error {
	all := testsuites{Name: "dagon-star", Time: inSeconds(s.DurationS)}
	names := caseNames(s.Tests)
	at := map[string]int{}
	times := map[string]float64{}
	for n, t := range s.Tests {
		i, ok := at[t.File]
		if !ok {
			i = len(all.Suites)
			at[t.File] = i
			all.Suites = append(all.Suites, testsuite{Name: Visible(t.File), Timestamp: s.StartedAt.UTC().Format("2006-01-02T15:04:05")})
		}
		suite := &all.Suites[i]
		c := testcase{Name: names[n], Classname: Visible(t.File), Time: inSeconds(t.DurationS), Out: Visible(t.Output),
			File: Visible(filepath.ToSlash(t.Source)), Line: t.Line, Err: Visible(strings.Join(t.Beside, "\n")),
			Properties: []property{{"seed", fmt.Sprint(t.Seed)}, {"run", Visible(t.Folder)}, {"repeat", Visible(t.Repeat)}}}
		where := ""
		if t.Where != "" {
			where = t.Where + ": "
		}
		p := &problem{Message: Visible(Brief(t.Reason)), Type: t.Outcome,
			Text: Visible(fmt.Sprintf("%s%s\n%s\nrun:    %s\nrepeat: %s\n", where, t.Reason, t.Output, t.Folder, t.Repeat))}
		switch t.Outcome {
		case "passed":
		case "failed":
			c.Failure = p
			suite.Failures++
			all.Failures++
		case Skipped, NotRun:
			c.Skipped = &problem{Message: p.Message, Type: t.Outcome}
			suite.Skipped++
			all.Skipped++
		default:
			c.Error = p
			suite.Errors++
			all.Errors++
		}
		suite.Tests++
		all.Tests++
		times[t.File] += t.DurationS
		suite.Time = inSeconds(times[t.File])
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// caseNames are the names of the cases of a JUnit file: those of the tests, with the seed
// where a test was run several times, for readers take two cases of a name for one.
func caseNames(tests []Test) []string {
	name := func(t Test) string {
		if t.Name == "" {
			return Visible(path.Base(filepath.ToSlash(t.File)))
		}
		return Visible(t.Name)
	}
	type key struct{ file, name string }
	count := map[key]int{}
	for _, t := range tests {
		count[key{t.File, name(t)}]++
	}
	names := make([]string, len(tests))
	given := map[key]bool{}
	for i, t := range tests {
		names[i] = name(t)
		if count[key{t.File, names[i]}] > 1 {
			names[i] += fmt.Sprintf(" (seed %d)", t.Seed)
		}
		for one, n := names[i], 2; given[key{t.File, names[i]}]; n++ {
			names[i] = fmt.Sprintf("%s #%d", one, n)
		}
		given[key{t.File, names[i]}] = true
	}
	return names
}

// writeJUnit writes the run as one test of its script.
func writeJUnit(r *Run, w io.Writer) error {
	t := Test{File: r.Started.Script, Outcome: r.Outcome, Reason: r.Reason, Where: r.Where, Seed: r.Started.Seed,
		DurationS: r.EndS, Folder: r.Folder, Repeat: r.Started.Repeat}
	for _, f := range r.Findings {
		if f.Reason != r.Reason {
			t.Beside = append(t.Beside, f.Outcome+": "+f.Reason)
		}
	}
	if r.Outcome == Unfinished {
		t.Reason = r.headline()
	}
	return WriteJUnit(w, Summary{Format: SummaryFormat, Seed: t.Seed, StartedAt: r.Started.StartedAt, DurationS: r.EndS, Tests: []Test{t}})
}

// maxMessage bounds a Brief text, in bytes.
const maxMessage = 300

// Brief is a text as one line, of at most 300 bytes, for what shows a line of it.
func Brief(text string) string {
	line := strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", "; ")), " ")
	if len(line) <= maxMessage {
		return line
	}
	end := maxMessage - len("…")
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + "…"
}

func inSeconds(s float64) string { return fmt.Sprintf("%.3f", s) }
