package process

import (
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoexec: what is on a file system that is mounted noexec is not to be made
// executable, as it is already.
func TestNoexec(t *testing.T) {
	dir := t.TempDir()
	skip := ""
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // and never unlocked: the thread ends, and its namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			skip = "no mount namespace: " + err.Error()
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			skip = "no mount namespace: " + err.Error()
			return
		}
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
			skip = "no file system: " + err.Error()
			return
		}
		path := executable(t, filepath.Join(dir, "program"), "#!/bin/sh\n")
		if _, err := LookPath(path, "", nil); err == nil || !strings.Contains(err.Error(), "mounted noexec") ||
			strings.Contains(err.Error(), "chmod") {
			t.Errorf("%v", err)
		}
		if _, err := LookPath("program", "", []string{"PATH=" + dir}); err == nil ||
			!strings.Contains(err.Error(), "of "+path+": it is on a file system that is mounted noexec") {
			t.Errorf("%v", err)
		}
	}()
	if <-done; skip != "" {
		t.Skip(skip)
	}
}
