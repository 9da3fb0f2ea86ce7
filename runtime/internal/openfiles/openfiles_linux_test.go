package openfiles

import (
	"os"
	"testing"
)

// TestCount: a file that is opened counts once, and no longer when it is closed.
func TestCount(t *testing.T) {
	first, err := os.Open(os.DevNull) // for which Go may open others
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	before, limit, known := Count()
	if !known || before <= 0 || limit < before {
		t.Fatalf("%d of %d, %v", before, limit, known)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if with, _, _ := Count(); with != before+1 {
		t.Errorf("%d are open beside one, want %d", with, before+1)
	}
	f.Close()
	if after, _, _ := Count(); after != before {
		t.Errorf("%d are open when it is closed, want %d", after, before)
	}
}
