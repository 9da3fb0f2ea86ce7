package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"plain\ttext\n":             "plain\ttext\n",
		"größe 数 👩‍👩‍👧 ﷽":           "größe 数 👩‍👩‍👧 ﷽",
		"a\x1b[2Jb":                 `a\x1b[2Jb`,
		"\r\nover\rwritten\b\a\x00": `\r` + "\n" + `over\rwritten\x08\x07\x00`,
		"\x7f":                      `\x7f`,
		"\u009b31m\u0085":           `\u009b31m\u0085`,
		"user\u202egpj.exe\u2066":   `user\u202egpj.exe\u2066`,
		"a\u2028b":                  `a\u2028b`,
		"caf\xe9 \xed\xa0\x80":      `caf\xe9 \xed\xa0\x80`,
		"\ufffd":                    "\ufffd",
		"\ufffe\U0001ffff":          `\ufffe\U0001ffff`,
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%q) is %q, want %q", in, got, want)
		}
	}
}

// FuzzVisible: nothing that acts on a terminal is left, what is shown stays so,
// and XML holds it.
func FuzzVisible(f *testing.F) {
	f.Add("\U0001ffff\u009ba\x1b[2J\u009b\u202e\xff\ufffe")
	f.Fuzz(func(t *testing.T, s string) {
		shown := Visible(s)
		if !utf8.ValidString(shown) || strings.ContainsAny(shown, "\x00\x07\x08\r\x1b\x7f\u0085\u009b\u202e") {
			t.Errorf("Visible(%q) is %q", s, shown)
		}
		if !IsVisible(shown) || Visible(shown) != shown {
			t.Errorf("Visible(%q) is %q, and that is not visible", s, shown)
		}
		data, _ := json.Marshal(s)
		var plain, shownJSON string
		if err := errors.Join(json.Unmarshal(data, &plain), json.Unmarshal([]byte(VisibleJSON(string(data))),
			&shownJSON)); err != nil || plain != shownJSON || !IsVisible(VisibleJSON(string(data))) {
			t.Errorf("%s is %s: %v", data, VisibleJSON(string(data)), err)
		}
		var b bytes.Buffer
		if err := WriteJUnit(&b,
			Summary{Tests: []Test{{File: s, Name: s, Reason: s, Where: s, Folder: s, Repeat: s, Output: s, Beside: []string{s},
				Outcome: "failed"}}}); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&b); ; {
			switch _, err := d.Token(); err {
			case nil:
				continue
			case io.EOF:
			default:
				t.Errorf("%q makes a JUnit file that is no XML: %v", s, err)
			}
			break
		}
	})
}
