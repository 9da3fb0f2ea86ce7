package builtins

import (
	"math"
	"reflect"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// TestToOSC holds what becomes of a script's values on the wire, and of those
// on the way back.
func TestToOSC(t *testing.T) {
	nested := starlark.NewList(nil)
	nested.Append(nested)
	for _, test := range []struct {
		value string // an expression
		tag   byte
		want  any // an error as its text
		back  string
	}{
		{"None", 0, nil, "None"},
		{"None", 'I', osc.Impulse{}, "None"},
		{"None", 'i', `NoneType None does not fit type tag 'i'`, ""},
		{"True", 0, true, "True"},
		{"True", 'F', `bool True does not fit type tag 'F'`, ""},
		{"1", 0, int32(1), "1"},
		{"1", 'h', int64(1), "1"},
		{"1 << 31", 0, int64(1 << 31), "2147483648"},
		{"1 << 31", 'i', `int 2147483648 does not fit type tag 'i'`, ""},
		{"-1 << 63", 0, int64(-1 << 63), "-9223372036854775808"},
		{"1 << 63", 0, `int 9223372036854775808 does not fit 64 bits`, ""},
		{"(1 << 64) - 1", 't', osc.Timetag(1<<64 - 1), "18446744073709551615"},
		{"3", 'f', float32(3), "3.0"},
		{"3", 'd', float64(3), "3.0"},
		{"1 << 200", 'f', `float 1.6069380442589903e+60 does not fit 32 bits: types = "d" sends it in 64`, ""},
		{"65", 'c', osc.Char(65), "65"},
		{"0xff0000ff", 'r', osc.RGBA(0xff0000ff), "4278190335"},
		{"0.5", 0, float32(0.5), "0.5"},
		{"1e300", 0, `float 1e+300 does not fit 32 bits: types = "d" sends it in 64`, ""},
		{"1e300", 'd', 1e300, "1e+300"},
		{"float('inf')", 0, float32(math.Inf(1)), "+inf"},
		{`"s"`, 0, "s", `"s"`},
		{`"s"`, 'S', osc.Symbol("s"), `"s"`},
		{`"s"`, 'b', []byte("s"), `b"s"`},
		{`"s"`, 'i', `string "s" does not fit type tag 'i'`, ""},
		{`b"s"`, 0, []byte("s"), `b"s"`},
		{"[1, (2, [])]", 0, osc.Array{int32(1), osc.Array{int32(2), osc.Array{}}}, "(1, (2, ()))"},
		{"[1]", 'i', `list [1] does not fit type tag 'i'`, ""},
		{"nested", 0, "has lists nested over 8 deep", ""},
		{"{}", 0, "got dict, want None, a bool, int, float, string, bytes or list", ""},
	} {
		v, err := starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "value", test.value, starlark.StringDict{"nested": nested})
		if err != nil {
			t.Fatal(err)
		}
		left := osc.MaxTags
		got, err := toOSC(v, test.tag, 0, &left)
		if err != nil {
			if text, _ := test.want.(string); text == "" || err.Error() != text {
				t.Errorf("%s as %q: %v, want %v", test.value, test.tag, err, test.want)
			}
			continue
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s as %q: %#v, want %#v", test.value, test.tag, got, test.want)
		}
		if _, err := osc.Append(nil, osc.NewMessage("/x", got)); err != nil {
			t.Errorf("%s as %q: %v", test.value, test.tag, err)
		}
		if back := fromOSC(got).String(); back != test.back {
			t.Errorf("%s as %q came back as %s, want %s", test.value, test.tag, back, test.back)
		}
	}
}
