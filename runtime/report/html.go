package report

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"strings"
)

// The page: a template of its first screen, which needs no script, and the scripts and
// the style of the rest.
//
//go:embed page
var page embed.FS

// scripts are the page's, in the order in which they stand in it as one.
var scripts = [...]string{"data.js", "model.js", "view.js", "timeline.js", "chart.js", "plots.js", "logs.js", "source.js", "main.js"}

// What of the nodes' logs is in the page: so much of each, and of all together. What is
// before that is in the run's folder.
const (
	maxTail  = 256 << 10
	maxTails = 16 << 20
)

// What the first screen shows without being unfolded.
const (
	firstNodes = 6
	briefWords = 420
	briefLines = 4
)

// PageName is the name of the page in a run's folder.
const PageName = "report.html"

// WriteHTML writes the run as a page. The log is in it as it is, compressed; the browser opens it.
// Nothing of a log is held in memory, but a few blocks of the events.
func WriteHTML(r *Run, w io.Writer) error {
	var script []byte
	for _, name := range scripts {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			return err
		}
		script = append(script, text...)
	}
	style, err := page.ReadFile("page/page.css")
	if err != nil {
		return err
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{
		"seconds": func(s float64) string { return fmt.Sprintf("%.3f s", s) }, "visible": Visible, "some": some, "plural": plural,
		"oneline": func(s string, most int) string { return Visible(cut(s, most)) },
	}).ParseFS(page, "page/page.html")
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	if err := t.Execute(b, newFirstScreen(r, policy(script, style), style)); err != nil {
		return err
	}
	blocks := []struct {
		id   string
		data any
	}{{"overview", r.Overview}, {"texts", append([]Text{}, r.Texts...)}}
	for _, block := range blocks {
		if err := writeBlock(b, block.id, func(w io.Writer) error { return json.NewEncoder(w).Encode(block.data) }); err != nil {
			return err
		}
	}
	if err := writeBlock(b, "logs", r.writeTails); err != nil {
		return err
	}
	if err := r.writeEvents(b); err != nil {
		return err
	}
	fmt.Fprintf(b, "<script>%s</script>\n</body>\n</html>\n", script)
	return b.Flush()
}

// policy lets the page load nothing, and run only its own script and style.
func policy(script, style []byte) string {
	sum := func(text []byte) string {
		s := sha256.Sum256(text)
		return "'sha256-" + base64.StdEncoding.EncodeToString(s[:]) + "'"
	}
	return fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", sum(script), sum(style))
}

// firstScreen is what the template shows of a run.
type firstScreen struct {
	*Run
	Policy      string
	Style       template.CSS
	Sign        string // that stands for the outcome, beside its colour
	Brief       string // the reason, as far as there is room
	Longer      bool   // the reason is longer
	Who         string // broke
	Place       scriptLine
	Force       string // which faults were in force, in words
	ShownFaults []shownFault
	Waiting     []string
	First, Rest []shownNode
	Beside      []string // pages of the run's folder
}

// scriptLine is where the script was, and the text of the line.
type scriptLine struct{ Where, Code string }

type shownFault struct {
	InForce bool
	Text    string
}

// shownNode is a node, and what became of it, in words.
type shownNode struct {
	NodeOverview
	Culprit   bool
	Condition string
}

func newFirstScreen(r *Run, policy string, style []byte) firstScreen {
	s := firstScreen{Run: r, Policy: policy, Style: template.CSS(style), Sign: r.sign(), Who: Visible(r.who()), Force: r.force()}
	s.Brief = briefly(r.Reason)
	s.Longer = s.Brief != Visible(r.Reason)
	if r.Where != "" {
		s.Place = scriptLine{Visible(r.Where), Visible(cut(r.Line(r.Where), 160))}
	}
	for _, f := range r.LastFaults(mostFaults) {
		s.ShownFaults = append(s.ShownFaults, shownFault{f.InForce, f.text()})
	}
	if !r.Passed() {
		for _, a := range r.Awaits[max(0, len(r.Awaits)-2):] {
			s.Waiting = append(s.Waiting, a.text())
		}
	}
	nodes := r.byInterest()
	for i, n := range nodes {
		shown := shownNode{n, r.isCulprit(n.Name), n.condition()}
		if i < firstNodes || len(nodes) <= firstNodes+1 {
			s.First = append(s.First, shown)
		} else {
			s.Rest = append(s.Rest, shown)
		}
	}
	s.Beside, _ = fs.Glob(r.files, "linearizability*.html")
	return s
}

// sign stands for the outcome where colours are not seen.
func (o *Overview) sign() string {
	switch o.Outcome {
	case "passed":
		return "✓"
	case "failed":
		return "✕"
	case "interrupted":
		return "■"
	case "skipped":
		return "–"
	case Unfinished:
		return "…"
	}
	return "?"
}

func (o *Overview) isCulprit(name string) bool {
	for _, c := range o.Culprits {
		if c == name {
			return true
		}
	}
	return false
}

// who tells who broke, and whom faults had struck.
func (o *Overview) who() string {
	var broke, struck []string
	isStruck := map[string]bool{}
	for _, f := range o.Faults {
		if f.Harmless || f.AppliedS < 0 || f.AppliedS > o.BrokeS {
			continue
		}
		for _, n := range f.Nodes {
			if !isStruck[n] {
				isStruck[n] = true
				struck = append(struck, n)
			}
		}
	}
	for _, n := range o.Nodes {
		if o.isCulprit(n.Name) || n.Unexpected != "" {
			broke = append(broke, n.Name+": "+n.condition())
		}
	}
	if more := len(broke) - 3; more > 0 {
		broke = append(broke[:3], fmt.Sprintf("%d more", more))
	}
	text := strings.Join(broke, "; ")
	switch {
	case o.Passed():
		text = cmp.Or(text, "none broke")
	case text == "" && o.Outcome == Unfinished:
		text = "dagon-star itself was ended, or still runs"
	case text == "":
		text = "no process by itself: what the script checked does not hold"
	}
	if len(struck) > 0 {
		text += ". Faults had struck " + some(struck)
	}
	return text
}

// force tells which faults that do harm were in force when the run failed.
func (o *Overview) force() string {
	inForce, before := 0, 0
	for _, f := range o.Faults {
		switch {
		case f.Harmless || f.AppliedS < 0 || f.AppliedS > o.BrokeS:
		case f.InForce:
			inForce++
		default:
			before++
		}
	}
	switch {
	case inForce+before == 0:
		return "none"
	case inForce == 0:
		return fmt.Sprintf("none in force; %d before", before)
	}
	return fmt.Sprintf("%d in force, %d before", inForce, before)
}

// condition is what became of the node, in words.
func (n NodeOverview) condition() string {
	state := n.State
	switch {
	case n.State == "":
		state = "not forked"
	case n.Exit != "" && n.State == "exited":
		state = fmt.Sprintf("exited %s at %.3f s", n.Exit, n.ExitS)
	case n.Paused:
		state += ", paused"
	}
	if n.Incarnation > 1 {
		state += fmt.Sprintf(" (incarnation %d)", n.Incarnation)
	}
	if n.Unexpected != "" {
		state += ", unasked: " + cut(n.Unexpected, 60)
	}
	return strings.ReplaceAll(state, "_", " ")
}

// briefly is a text of which only the beginning is shown where it is long.
func briefly(text string) string {
	text = Visible(text)
	lines := strings.SplitN(text, "\n", briefLines+1)
	brief := strings.Join(lines[:min(len(lines), briefLines)], "\n")
	if r := []rune(brief); len(r) > briefWords {
		brief = string(r[:briefWords])
	}
	if brief == text {
		return text
	}
	return brief + " …"
}

func plural(n any, what string) string {
	text := fmt.Sprint(n)
	if text == "1" {
		return "1 " + what
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text + " " + what + "s"
}

// writeBlock writes data that the page's script reads: gzip, in base64.
func writeBlock(b *bufio.Writer, id string, write func(io.Writer) error) error {
	var data bytes.Buffer
	compressor := newCompressor()
	compressor.Reset(&data)
	if err := errors.Join(write(compressor), compressor.Close()); err != nil {
		return err
	}
	fmt.Fprintf(b, "<script type=\"application/gzip\" id=\"data-%s\">", id)
	return writeBase64(b, data.Bytes())
}

func writeBase64(b *bufio.Writer, data []byte) error {
	encoder := base64.NewEncoder(base64.StdEncoding, b)
	_, err := encoder.Write(data)
	if err = errors.Join(err, encoder.Close()); err != nil {
		return err
	}
	_, err = b.WriteString("</script>\n")
	return err
}

// writeTails writes the last parts of the nodes' logs as JSON, an object a node.
func (r *Run) writeTails(w io.Writer) error {
	type tail struct {
		Node   string `json:"node"`
		Before int64  `json:"before"` // bytes that are not here
		Text   string `json:"text"`
	}
	tails := []tail{}
	most := int64(maxTail)
	if n := int64(len(r.Nodes)); n > 0 {
		most = min(most, maxTails/n)
	}
	for _, n := range r.Nodes {
		text, before, err := r.Tail(n.Name, most)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		tails = append(tails, tail{n.Name, before, string(text)})
	}
	return json.NewEncoder(w).Encode(tails)
}
