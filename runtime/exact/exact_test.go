package exact

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

type thing struct {
	Text  string            `json:"text"`
	Words []string          `json:"words,omitempty"`
	Named map[string]string `json:"named,omitempty"`
	Deep  *thing            `json:"deep,omitempty"`
	Any   any               `json:"any,omitempty"`
	Pair  [2]string         `json:"pair"`
	Bytes []byte            `json:"bytes,omitempty"`
	When  time.Time         `json:"when"`
}

func sample(s string) thing {
	return thing{Text: s, Words: []string{s, "", "plain", s + s}, Named: map[string]string{s: s + "b", "n": "a" + s},
		Deep: &thing{Text: "<" + s + ">"},
		Any:  []any{s, 1.0, nil, map[string]any{"k" + s: s}}, Pair: [2]string{"", s}, Bytes: []byte("b" + s),
		When: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
}

func TestExact(t *testing.T) {
	for s, want := range map[string]string{
		"":                         `""`,
		"<plain> & \u2028größe":    `"<plain> & \u2028größe"`,
		"caf\xe9":                  `"caf\udce9"`,
		"\xff\x80é\x00":            `"\udcff\udc80é\u0000"`,
		"\xed\xa0\x80":             `"\udced\udca0\udc80"`, // a surrogate is no UTF-8
		"\U0010fffd\xe9":           "\"\U0010fffd\\udce9\"",
		"\ufffd":                   "\"\ufffd\"",
		`\udce9 \\udce9 ` + "\xe9": `"\\udce9 \\\\udce9 \udce9"`,
	} {
		got, err := Marshal(s)
		if err != nil || string(got) != want || !utf8.Valid(got) || !json.Valid(got) {
			t.Errorf("%q is %s, %v, want %s", s, got, err, want)
		}
	}
	for data, want := range map[string]string{
		`"a\uDCE9b"`:                 "a\xe9b",
		`"\ud83d\ude00\ud83d\udc80"`: "😀💀", // pairs, the second of which looks like a byte
		`"\ud83d\ud83d\udc80"`:       "\ufffd💀",
		`"\udbff\udffd\udce9"`:       "\U0010fffd\xe9",
		`"\udc7f\udd00\ud800"`:       "\ufffd\ufffd\ufffd",
		`"\\udce9"`:                  `\udce9`,
	} {
		var got string
		if err := Unmarshal([]byte(data), &got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", data, got, err, want)
		}
	}
	for _, broken := range []string{``, `"\udce9`, `"\ud`, `"\udcg0"`, `{"text":"\udce9"`, `{"text":["\udce9"]}`} {
		var got thing
		if err := Unmarshal([]byte(broken), &got); err == nil {
			t.Errorf("%s is %+v", broken, got)
		}
	}
	indented, err := MarshalIndent(map[string]int{"\xe9": 1}, "  ")
	if want := "{\n  \"\\udce9\": 1\n}"; err != nil || string(indented) != want {
		t.Errorf("%s, %v", indented, err)
	}
}

// FuzzExact: whatever the bytes are, they come back; what is UTF-8 is written as
// encoding/json does.
func FuzzExact(f *testing.F) {
	for _, s := range []string{"", "caf\xe9", "\U0010fffd\xff", `\udce9`, "\xed\xa0\xbd\xed\xb2\x80", "\xf0\x9f\x92"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := sample(s)
		data, err := Marshal(in)
		if err != nil || !utf8.Valid(data) {
			t.Fatalf("%q: %v, %s", s, err, data)
		}
		var out thing
		if err := Unmarshal(data, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%q came back as %+v, %v", s, out, err)
		}
		if own, _ := marshal(in); utf8.ValidString(s) && !bytes.Equal(own, data) {
			t.Errorf("%q is %s", s, data)
		}
		var first, second any
		if json.Unmarshal([]byte(s), &first) == nil {
			if err := Unmarshal([]byte(s), &second); err != nil {
				t.Errorf("%q is JSON: %v", s, err)
			}
		}
	})
}
