package report

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// TestSVG: the picture is XML whatever the log has in it, asks nothing of anywhere, has a
// title for who cannot see it, and tells what happened.
func TestSVG(t *testing.T) {
	for _, r := range []*Run{hostileRun(t), lifecycle(t), runOf(t, started())} {
		text := write(t, r, "svg")
		var names []string
		for d := xml.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if e, ok := token.(xml.StartElement); ok {
				names = append(names, e.Name.Local)
				for _, a := range e.Attr {
					if a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
						t.Errorf("%s has %s", e.Name.Local, a.Name.Local)
					}
				}
			}
		}
		if !strings.HasPrefix(strings.Join(names, " "), "svg title desc style rect text ") {
			t.Errorf("it begins with %q", names[:6])
		}
	}
	text := write(t, lifecycle(t), "svg")
	for _, want := range []string{">fork<", ">count 4 ×5<", ">⚡ pause r<", ">✕ exited by ", "prefers-color-scheme:dark"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
