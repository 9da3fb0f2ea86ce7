package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestColumns: a mistake is told where what it is about stands, counted in characters.
func TestColumns(t *testing.T) {
	for text, want := range map[string]string{
		"[a]\npath = x\nlisten.b = 70000":                          "3:12",
		"[a]\npath = x\n\t  listen.b\t=\t\t70000 # c":              "3:16",
		"[a]\npath = x\nlisten.b =":                                "3:1",
		"[a]\npath = x\n\u00a0é = ü <a> <b>":                       "3:12",
		"\xef\xbb\xbf[a\npath = x":                                 "1:1",
		"  [a] b\npath = x":                                        "1:7",
		"[a]\r\npath = x\r\nk = <b>\r\n":                           "3:5",
		"[a]\ncommand = x\n\n    --y\n  <a> <b>\nstop = INT":       "5:7",
		"[a]\ncommand =\n  x <b>\nstop = INT":                      "3:5",
		"[a]\ncommand = x\nsetup =\n  y\n\n   z <b>\nstop = INT":   "6:6",
		"[a]\ncommand = x\ntemplate.f =\n  é\n    z <a><b>\nk = 1": "5:10",
		"[a]\ncommand = x '<'b> <b>":                               "2:19",
		"x = 1\n[a]\npath = x":                                     "1:1",
	} {
		_, err := Parse("t.ini", []byte(text))
		var mistakes Mistakes
		if !errors.As(err, &mistakes) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := fmt.Sprintf("%d:%d", mistakes[0].Line, mistakes[0].Col); got != want {
			t.Errorf("%q: %s, want %s: %v", text, got, want, err)
		}
	}
}

// TestMayDefine: a section in which something is wrong may define what its name says, and
// nobody knows what the others would, where one cannot be read.
func TestMayDefine(t *testing.T) {
	const good = "\n[good-1]\npath = x\n"
	for text, names := range map[string]string{
		"[bad-1]\npath =":                        "bad-1 bad_1 bad-17 -bad -good-1 -good_1 -good",
		"[w]\npath = x\ncount = x":               "w w1 w20 -wx -w1x -good_1",
		"[w\npath = x":                           "w w1 -good_1 -x",
		"[w]\npath = x\n[w]\npath = y":           "w -good_1",
		"[w]\npath = x\nk = <w:e>":               "w -good_1",
		"[dagon]\ntimeout = 0":                   "dagon -w -good_1",
		"[w]\npath = x\nname = a/b":              "w v good_1",
		"[]\npath = x":                           "w v",
		"[\xff]\npath = x":                       "w v",
		"[w]\npath = x\nk = \xff":                "w -v",
		"k = v":                                  "w v",
		"[w]\npath = x\ntemplate.f =\n  <w:e>\n": "w -v",
		"[w]\n" + strings.Repeat("=\n", 200):     "w v",
	} {
		top, err := ParseIn(nil, "t.ini", []byte(text+good))
		if err == nil || top == nil || top.IsWhole() {
			t.Fatalf("%q: %v, %v", text, top, err)
		}
		for name := range strings.FieldsSeq(names) {
			name, not := strings.CutPrefix(name, "-")
			if top.MayDefine(name) == not {
				t.Errorf("%q: %s: %v", text, name, !not)
			}
		}
		top.Ties()
		top.CheckPrograms("", nil, func(string, string, []string) error { return nil })
	}
	if top, err := Parse("t.ini", []byte(good)); err != nil || !top.IsWhole() || top.MayDefine("good_1") || !top.IsSure("good-1") {
		t.Error(err)
	}
	if top := Unreadable("t.ini"); top.IsWhole() || !top.MayDefine("x") || top.IsSure("x") {
		t.Error("of an ini that cannot be read something is known")
	}
}
