package process

import (
	"bytes"
	"fmt"
	"os"
)

// Stopped reports whether a process has been stopped, by whom ever, and has not been let go
// on. It is false where there is no such process, and where that cannot be known.
func Stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || bytes.LastIndexByte(text, ')') < 0 {
		return false
	}
	f := statFields(text)
	return len(f) > 0 && (f[0][0] == 'T' || f[0][0] == 't')
}
