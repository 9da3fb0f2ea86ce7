//go:build unix

package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUser: on each rung a process runs as its user, with its groups, has its output
// opened again, and is ended with its tree.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process as another user")
	}
	dir := open(t)
	for _, rung := range []Rung{Sealed, Cgroup, Supervised, Bare} {
		t.Run(string(rung), func(t *testing.T) {
			d, err := New(Options{Run: "user", Contain: string(rung)})
			if err != nil {
				t.Skip(err)
			}
			defer d.Close()
			const want = "65534\n65533\n65533 7\nagain\n"
			out := newLines(want)
			var errs bytes.Buffer
			p, err := d.Start(Spec{
				Argv: []string{"/bin/sh", "-c", "id -u; id -g; id -G; sh -c 'echo again >/dev/stdout; kill -STOP $$' & wait"},
				Env:  []string{"PATH=/bin:/usr/bin", "TOKEN=" + string(rung)}, Tag: "TOKEN=" + string(rung), Dir: dir,
				Credential: &Credential{Name: "somebody", UID: 65534, GID: 65533, Groups: []uint32{65533, 7}}, Stdout: out, Stderr: &errs,
			})
			if err != nil {
				t.Fatal(err)
			}
			<-out.seen
			if reached, err := p.Signal(syscall.SIGKILL, Tree); err != nil || reached != 2 {
				t.Errorf("the kill reached %d: %v", reached, err)
			}
			<-p.Done()
			if errs.Len() > 0 {
				t.Errorf("it wrote %q", &errs)
			}
		})
	}
}

// open makes a folder that everybody may pass.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUserKeptOut: a user who cannot come to the folder or to the program is told which
// folder keeps it out, and nothing is forked.
func TestUserKeptOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process as another user")
	}
	closed := filepath.Join(open(t), "closed")
	inside := filepath.Join(closed, "inside")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(inside, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{Run: "kept-out"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, s := range []Spec{{Argv: []string{"/bin/true"}, Dir: inside}, {Argv: []string{program}, Dir: "/"}} {
		s.Credential = &Credential{Name: "somebody", UID: 65534, GID: 65534}
		_, err := d.Start(s)
		if err == nil || !strings.Contains(err.Error(), "somebody") || !strings.Contains(err.Error(), closed+" has mode drwx------") {
			t.Errorf("%v in %s: %v", s.Argv, s.Dir, err)
		}
	}
}
