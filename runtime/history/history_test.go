package history

import (
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// TestValue holds what values are: texts of which equal ones are the same.
func TestValue(t *testing.T) {
	for _, s := range []string{"", "a", "5", `"`, `\`, "<&>", "\x00", "é", "\u2028", "[1]", "caf\xe9", "\ufffd"} {
		if got := Text(s).Text(); got != s {
			t.Errorf("Text(%q).Text() = %q", s, got)
		}
	}
	elements, ok := Value(`[1,"b",[2],null]`).List()
	if want := []Value{"1", `"b"`, "[2]", "null"}; !ok || len(elements) != 4 || elements[0] != want[0] ||
		elements[1] != want[1] || elements[2] != want[2] || !elements[3].IsNone() {
		t.Errorf("List = %q, %v", elements, ok)
	}
	for _, v := range []Value{None, "null", "5", `"[1]"`, "[1"} {
		if _, ok := v.List(); ok {
			t.Errorf("%q is a list", v)
		}
	}
}

// TestParseValue holds that values that are the same become the same text.
func TestParseValue(t *testing.T) {
	for in, want := range map[string]Value{
		"5": "5", " 5 ": "5", "-0.50e1": "-0.50e1", `"a"`: `"a"`, `"\u0061"`: `"a"`, `"<\/>"`: `"</>"`, "true": "true", "null": None,
		`"\udce9"`: `"\udce9"`, `[ ]`: "[]", `[1 , [ "b" ]]`: `[1,["b"]]`, `{}`: "{}",
		`{"b":1, "a":{"d":[],"c":null}}`: `{"a":{"c":null,"d":[]},"b":1}`, `{"a":1,"a":2}`: `{"a":2}`, `{"\"":",]"}`: `{"\"":",]"}`,
		"\"<\"": `"<"`,
	} {
		got, err := ParseValue([]byte(in))
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
		again, err := ParseValue([]byte(got))
		if got != None && (err != nil || again != got) {
			t.Errorf("%s became %s, %v", got, again, err)
		}
	}
	for _, in := range []string{"", "[", "[1", `"`, "01", "1 2", "nul", "{1:2}", strings.Repeat("[", 5000) + strings.Repeat("]", 5000)} {
		if v, err := ParseValue([]byte(in)); err == nil {
			t.Errorf("%.20q is %q", in, v)
		}
	}
}

// TestDeepValue: lists in lists cost memory in proportion to their text.
func TestDeepValue(t *testing.T) {
	text := strings.Repeat("[", 90) + "0" + strings.Repeat(",0", 50_000) + strings.Repeat("]", 90)
	for range 3 {
		took := allocated.By(func() {
			if _, err := ParseValue([]byte(text)); err != nil {
				t.Fatal(err)
			}
		})
		if took < 40*uint64(len(text))+allocated.Slack {
			return
		}
		t.Logf("%d bytes for %d", took, len(text))
	}
	t.Error("too much memory")
}

// TestReturned holds which of its two values an operation tells of.
func TestReturned(t *testing.T) {
	for _, c := range []struct {
		op   Op
		want Value
	}{
		{Op{Outcome: OK, Result: "5"}, "5"},
		{Op{Outcome: OK, Value: "5", Result: "true"}, "5"},
		{Op{Outcome: OK, Value: `[["r","x",null]]`, Result: `[["r","x",[1]]]`}, `[["r","x",[1]]]`},
		{Op{Outcome: OK, Value: `[1,2]`, Result: "true"}, `[1,2]`},
		{Op{Outcome: Info, Value: "5"}, "5"},
		{Op{Outcome: Info}, None},
	} {
		if got := c.op.Returned(); got != c.want {
			t.Errorf("%+v: Returned = %q, want %q", c.op, got, c.want)
		}
	}
}
