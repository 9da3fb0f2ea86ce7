package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/script"
)

// github is what a job of GitHub Actions is told of runs.
type github struct {
	isJob     bool   // commands on the standard output are understood
	workspace string // that annotations name files in; "" where it is not known
	summary   string // the file of the step's summary, or ""
}

func newGitHub(getenv func(string) string) github {
	return github{isJob: getenv("GITHUB_ACTIONS") == "true", workspace: getenv("GITHUB_WORKSPACE"), summary: getenv("GITHUB_STEP_SUMMARY")}
}

// quietly has what is printed until its end is called be no command of GitHub's, whatever
// a node or a script says.
func (g github) quietly(w io.Writer) (end func()) {
	if !g.isJob {
		return func() {}
	}
	token := rand.Text()
	fmt.Fprintf(w, "::stop-commands::%s\n", token)
	return func() { fmt.Fprintf(w, "::%s::\n", token) }
}

// told reports whether GitHub is told of a test, or a run: of all but those that passed or were
// not run.
func (g github) told(t report.Test) bool {
	return t.Outcome != string(runtime.Passed) && t.Outcome != report.Skipped && t.Outcome != report.NotRun
}

// annotate prints an annotation for what did not pass, at its place in a script where that
// is in the workspace.
func (g github) annotate(w io.Writer, tests ...report.Test) {
	if !g.isJob {
		return
	}
	for _, t := range tests {
		if g.told(t) {
			io.WriteString(w, annotation(t, g.place))
		}
	}
}

// place is a file as the workspace has it; "" where it has none.
func (g github) place(file string) string {
	path, err := filepath.Abs(file)
	if err != nil || g.workspace == "" {
		return ""
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // it is shipped
		return ""
	}
	// Either may be told by way of a link.
	root, rootErr := filepath.EvalSymlinks(g.workspace)
	path, pathErr := filepath.EvalSymlinks(path)
	in, err := filepath.Rel(root, path)
	if rootErr != nil || pathErr != nil || err != nil || !filepath.IsLocal(in) {
		return ""
	}
	return filepath.ToSlash(in)
}

// annotation is a test that did not pass as a command of GitHub's; place finds a file in
// the workspace.
func annotation(t report.Test, place func(string) string) string {
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	var properties []string
	file, line, col := splitPlace(t.Where)
	if file == "" {
		file, line = t.Source, t.Line
	}
	if file != "" {
		if file = place(file); file != "" {
			properties = append(properties, "file="+property.Replace(file))
			if line > 0 {
				properties = append(properties, fmt.Sprintf("line=%d", line))
			}
			if col > 0 {
				properties = append(properties, fmt.Sprintf("col=%d", col))
			}
		}
	}
	properties = append(properties, "title="+property.Replace(report.Visible(t.Outcome+": "+t.Title())))
	message := t.Reason
	if t.Repeat != "" {
		message += "\nrepeat: " + t.Repeat
	}
	return fmt.Sprintf("::error %s::%s\n", strings.Join(properties, ","), data.Replace(report.Visible(message)))
}

// splitPlace takes file:line:col apart; what is missing is "" or 0.
func splitPlace(where string) (file string, line, col int) {
	var numbers []int
	for len(numbers) < 2 {
		i := strings.LastIndexByte(where, ':')
		n, err := strconv.Atoi(where[i+1:])
		if i < 0 || err != nil {
			break
		}
		where, numbers = where[:i], append([]int{n}, numbers...)
	}
	switch len(numbers) {
	case 1:
		line = numbers[0]
	case 2:
		line, col = numbers[0], numbers[1]
	}
	return where, line, col
}

// maxStepSummary is how many bytes GitHub takes of a step's summary; it drops all of one
// that is longer.
const maxStepSummary = 1 << 20

// summarize appends what tests came to to the step's summary. chart is the end of the
// sequence chart of a run's folder, as Mermaid; it may be nil, or return "".
func (g github) summarize(title string, tests []report.Test, chart func(folder string) string) error {
	if g.summary == "" {
		return nil
	}
	err := appendWhole(g.summary, maxStepSummary, func(room int) string { return summaryText(title, tests, g.told, chart, room) })
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	return nil
}

// summaryText is a summary in Markdown, of at most so many bytes: what does not fit is left
// out as a whole, and counted.
func summaryText(title string, tests []report.Test, told func(report.Test) bool, chart func(string) string, room int) string {
	counts := map[string]int{}
	for _, t := range tests {
		counts[t.Outcome]++
	}
	head := "### " + markdown(title) + ": " + markdown(countsText(counts)) + "\n\n"
	const reserve = 100 // for the line of what is left out
	if len(head)+reserve > room {
		return ""
	}
	var b strings.Builder
	b.WriteString(head)
	left := 0
	for _, t := range tests {
		if !told(t) {
			continue
		}
		if text := testText(t, chart); b.Len()+len(text)+reserve <= room {
			b.WriteString(text)
		} else if text := testText(t, nil); b.Len()+len(text)+reserve <= room {
			b.WriteString(text)
		} else {
			left++
		}
	}
	if left > 0 {
		fmt.Fprintf(&b, "and %d more, for which there is no room here\n\n", left)
	}
	return b.String()
}

// testText is one that did not pass, in Markdown.
func testText(t report.Test, chart func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** %s", markdown(t.Outcome), markdown(t.Title()))
	if t.Where != "" {
		fmt.Fprintf(&b, " at %s", markdown(t.Where))
	}
	fmt.Fprintf(&b, " after %s, seed %d\n\n", seconds(t.DurationS), t.Seed)
	b.WriteString(fenced("text", cut(strings.Join(append([]string{t.Reason}, t.Beside...), "\nbeside: "), maxReason)))
	if chart != nil && t.Folder != "" {
		if text := chart(t.Folder); text != "" {
			b.WriteString(fenced("mermaid", text))
		}
	}
	if t.Repeat != "" {
		b.WriteString("Again:\n\n" + fenced("sh", t.Repeat))
	}
	return b.String()
}

// maxReason bounds a reason in a summary, in bytes.
const maxReason = 8 << 10

// cut is a text of at most about so many bytes.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "\n… "
}

// fenced is a block of a text as it is: its fence is longer than any in the text.
func fenced(language, text string) string {
	text = report.Visible(strings.TrimRight(text, "\n"))
	longest, run := 0, 0
	for i := range len(text) {
		if run++; text[i] != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", max(3, longest+1))
	return fence + language + "\n" + text + "\n" + fence + "\n\n"
}

// markdown is a text as Markdown shows it: a line, of which nothing is markup, HTML or a link.
func markdown(text string) string {
	var b strings.Builder
	for _, c := range report.Visible(strings.Join(strings.Fields(text), " ")) {
		if c < 0x80 && strings.ContainsRune("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// asTest is a run as GitHub is told of it.
func asTest(config script.Config, r *script.Result, repeat string) report.Test {
	t := report.Test{File: config.Script, Name: config.Test, Outcome: string(r.Outcome), Reason: r.Reason, Where: r.Where,
		Seed: r.Seed, DurationS: r.Duration.Seconds(), Folder: relative(r.Folder), Repeat: repeat}
	for _, f := range r.Beside {
		t.Beside = append(t.Beside, f.Told())
	}
	return t
}
