package report

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
)

// The page: a template of its first screen, which needs no script, and the script and
// style of the rest.
//
//go:embed page
var page embed.FS

// What of the nodes' logs is in the page: so much of each, and of all together. What is
// before that is in the run's folder.
const (
	maxTail  = 256 << 10
	maxTails = 16 << 20
)

// PageName is the name of the page in a run's folder.
const PageName = "report.html"

// WriteHTML writes the run as a page. The log is in it as it is, compressed; the browser opens it.
// Nothing of a log is held in memory.
func WriteHTML(r *Run, w io.Writer) error {
	script, err := page.ReadFile("page/page.js")
	if err != nil {
		return err
	}
	style, err := page.ReadFile("page/page.css")
	if err != nil {
		return err
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{
		"cut": cut, "line": r.Line, "seconds": func(s float64) string { return fmt.Sprintf("%.3f s", s) },
	}).ParseFS(page, "page/page.html")
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	err = t.Execute(b, struct {
		*Run
		Policy string
		Style  template.CSS
		Faults []FaultLife
		Nodes  []NodeOverview
	}{r, policy(script, style), template.CSS(style), r.LastFaults(mostFaults), r.byInterest()})
	if err != nil {
		return err
	}
	blocks := []struct {
		id    string
		write func(io.Writer) error
	}{
		{"overview", func(w io.Writer) error { return json.NewEncoder(w).Encode(r.Overview) }},
		{"texts", func(w io.Writer) error { return json.NewEncoder(w).Encode(append([]Text{}, r.Texts...)) }},
		{"logs", r.writeTails},
		{"events", func(w io.Writer) error {
			f, _, err := r.open(logName)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(w, f)
			return err
		}},
	}
	for _, block := range blocks {
		if err := writeBlock(b, block.id, block.write); err != nil {
			return err
		}
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
	return fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; img-src data:; base-uri 'none'; form-action 'none'",
		sum(script), sum(style))
}

// writeBlock writes data that the page's script reads: gzip, in base64.
func writeBlock(b *bufio.Writer, id string, write func(io.Writer) error) error {
	fmt.Fprintf(b, "<script type=\"application/gzip\" id=\"data-%s\">", id)
	encoder := base64.NewEncoder(base64.StdEncoding, b)
	compressor := gzip.NewWriter(encoder)
	if err := errors.Join(write(compressor), compressor.Close(), encoder.Close()); err != nil {
		return err
	}
	_, err := b.WriteString("</script>\n")
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
