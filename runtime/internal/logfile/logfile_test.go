package logfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for what, test := range map[string]struct {
		do   func(path string) error
		want string // "" for nothing
	}{
		"left alone": {func(string) error { return nil }, ""},
		"removed":    {os.Remove, "who has removed it?"},
		"replaced": {func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, []byte("12345"), 0o600))
		}, "who has replaced it?"},
		"cut short": {func(path string) error { return os.Truncate(path, 2) }, "has 2 bytes, and 5 were written"},
		"longer":    {func(path string) error { return os.Truncate(path, 6) }, "has 6 bytes, and 5 were written"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("12345"); err != nil {
			t.Fatal(err)
		}
		written, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		f.Close() // where a file cannot be removed while it is open
		if err := test.do(path); err != nil {
			t.Fatal(err)
		}
		err = Check(path, written, 5)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) ||
			!strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
