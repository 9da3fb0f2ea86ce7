package record

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

func TestParseLine(t *testing.T) {
	for _, test := range []struct {
		line    string
		us      int64
		payload string
		err     string // how it begins, "" for none
	}{
		{"1700000000000001, 42", 1700000000000001, "42", ""},
		{"-1, 42", -1, "42", ""},
		{"1, a, b", 1, "a, b", ""},
		{`1, "a\nb"`, 1, "a\nb", ""},
		{`1, a "b"`, 1, `a "b"`, ""},
		{"1, ", 1, "", ""},
		{`1, "a`, 0, "", `"1, \"a" has a quoted payload that cannot be read`},
		{"now, 42", 0, "", `"now, 42" is no record: "MICROSECONDS, PAYLOAD" was expected`},
		{"1,42", 0, "", `"1,42" is no record`},
		{"", 0, "", `"" is no record`},
		{"9223372036854775808, 1", 0, "", `"9223372036854775808, 1" is no record`},
		{strings.Repeat("é", 1000), 0, "", `"` + strings.Repeat("é", 30) + `"… is no record`},
	} {
		us, payload, err := parseLine(test.line)
		if err != nil && test.err != "" && strings.HasPrefix(err.Error(), test.err) {
			continue
		}
		if err != nil || test.err != "" || us != test.us || payload != test.payload {
			t.Errorf("%q: %d, %q, %v", test.line, us, payload, err)
		}
	}
}

// TestAppend: a line is as short as it can be, and always one line.
func TestAppend(t *testing.T) {
	for payload, want := range map[string]string{
		"42":        "1, 42\n",
		"":          "1, \n",
		"a, \"b\"":  "1, a, \"b\"\n",
		"\"a":       "1, \"\\\"a\"\n",
		"é":         "1, é\n",
		"é\nb":      "1, \"é\\nb\"\n",
		"\xff":      "1, \"\\xff\"\n",
		"a\x7f\x00": "1, \"a\\x7f\\x00\"\n",
	} {
		if got := string(Append(nil, time.UnixMicro(1), []byte(payload))); got != want {
			t.Errorf("%q: %q, want %q", payload, got, want)
		}
	}
}

func TestReadFile(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "sent.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("5, a\n6, \"b\\n\"\n7, is being writ")
	got, err := ReadFile(file, "s/sent.txt")
	want := []Record{{"a", 5, "s/sent.txt", 1}, {"b\n", 6, "s/sent.txt", 2}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	write("")
	if got, err := ReadFile(file, ""); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	write("5, a\n6\n7, b\n")
	if _, err := ReadFile(file, ""); err == nil || !strings.HasPrefix(err.Error(), file+":2: \"6\" is no record") {
		t.Errorf("%v", err)
	}
	sparse := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(sparse, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, maxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(sparse, ""); err == nil || !strings.Contains(err.Error(), "it has over 1024 MiB") {
		t.Error(err)
	}
	if _, err := ReadFile(folder, ""); err == nil || !strings.HasSuffix(err.Error(), folder+": it is a folder: a regular file was expected") {
		t.Errorf("%v", err)
	}
	if _, err := ReadFile(filepath.Join(folder, "none"), ""); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

// bound is what parse may allocate for a text: a record for each line of five
// bytes, and the payloads that are quoted.
func bound(text string) uint64 { return 20*uint64(len(text)) + allocated.Slack }

// FuzzParse: no file makes the reader panic; it costs memory in proportion; its
// errors are short; and what was read is written and read as the same again.
func FuzzParse(f *testing.F) {
	f.Add("1, a\n2, \"b\\n\"\n3, c")
	f.Add("1, \n2, \n3, \n")
	f.Add(strings.Repeat("\n", 100))
	f.Add("-9223372036854775808, \"\\xff\\u00e9\"\n+7, é\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		defer allocated.Ends()()
		var records []Record
		var line int
		var err error
		measure := func() uint64 { return allocated.By(func() { records, line, err = parse(text, "f") }) }
		took := measure()
		for range 3 {
			if took > bound(text) { // a collection in between counts all that was allocated since the last
				took = measure()
			}
		}
		if took > bound(text) {
			t.Fatalf("%d bytes for %d", took, len(text))
		}
		lines := strings.Count(text, "\n")
		if err != nil {
			if line < 1 || line > lines || len(err.Error()) > 5*quoteMax {
				t.Fatalf("line %d of %d: %v", line, lines, err)
			}
			return
		}
		if len(records) != lines {
			t.Fatalf("%d records of %d lines", len(records), lines)
		}
		var again []byte
		for i, r := range records {
			if r.Line != i+1 {
				t.Fatalf("%v is at %d", r, i)
			}
			again = Append(again, time.UnixMicro(r.Time), []byte(r.Payload))
		}
		back, _, err := parse(string(again), "f")
		if err != nil || !slices.Equal(back, records) {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}

// FuzzAppend: any payload is a line, and is read as it was.
func FuzzAppend(f *testing.F) {
	for _, payload := range []string{"", "42", "\"", "é\n", "\xff", "a, b", "`"} {
		f.Add(int64(1700000000000001), payload)
	}
	f.Fuzz(func(t *testing.T, us int64, payload string) {
		defer allocated.Ends()()
		line := Append(nil, time.UnixMicro(us), []byte(payload))
		records, _, err := parse(string(line), "f")
		if err != nil || len(records) != 1 || records[0] != (Record{payload, us, "f", 1}) {
			t.Fatalf("%q: %v, %v", line, records, err)
		}
	})
}
