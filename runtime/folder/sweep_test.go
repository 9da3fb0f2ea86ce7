//go:build linux

package folder

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// stranger starts a process that says it is a node of a run with the folder;
// the channel is closed when it is gone.
func stranger(t *testing.T, id, folder string) (pid int, gone chan struct{}) {
	t.Helper()
	c := exec.Command("cat")
	c.Env = append(os.Environ(), "DAGON_RUN="+id, "DAGON_NAME=x", Variable+"="+folder)
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	// Its environment can be read no sooner than it runs, which is after Start.
	in.Write([]byte("x"))
	out.Read(make([]byte, 1))
	gone = make(chan struct{})
	go func() {
		c.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		<-gone
	})
	return c.Process.Pid, gone
}

// sweeping sweeps, and returns what the sweep says of the process.
func sweeping(t *testing.T, pid int) *Leftover {
	t.Helper()
	swept := make(chan SweepResult, 1)
	go func() { swept <- Sweep() }()
	select {
	case s := <-swept:
		for i := range s.Processes {
			if s.Processes[i].PID == pid {
				return &s.Processes[i]
			}
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the sweep hangs")
	}
	return nil
}

// leftAlone sweeps, and wants the process told of and left alone.
func leftAlone(t *testing.T, pid int, gone chan struct{}) {
	t.Helper()
	if p := sweeping(t, pid); p == nil || p.Killed || !errors.Is(p.Err, ErrUnknownRun) {
		t.Errorf("the sweep says %+v", p)
	}
	select {
	case <-gone:
		t.Error("it was killed")
	default:
	}
}

// swept sweeps, and wants the process killed: by this sweep, or another run's.
func swept(t *testing.T, pid int, gone chan struct{}) {
	t.Helper()
	p := sweeping(t, pid)
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Errorf("it was not killed: %+v", p)
	}
}

// TestSweepTrustsNobody: whatever a stranger's process says is its run's
// folder neither stops a sweep, nor is followed, made or believed.
func TestSweepTrustsNobody(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, lock string){
		"nothing": func(*testing.T, string) {},
		"fifo":    func(t *testing.T, lock string) { must(t, syscall.Mkfifo(lock, 0o666)) },
		"folder":  func(t *testing.T, lock string) { must(t, os.Mkdir(lock, 0o755)) },
		"link": func(t *testing.T, lock string) {
			must(t, os.WriteFile(lock+"-2", []byte("abc"), 0o644))
			must(t, os.Symlink(lock+"-2", lock))
		},
		"another's": func(t *testing.T, lock string) {
			must(t, os.WriteFile(lock, []byte("abc"), 0o644))
			if err := os.Chown(lock, 12345, -1); err != nil {
				t.Skip(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			lock := filepath.Join(t.TempDir(), lockName)
			make(t, lock)
			pid, gone := stranger(t, "abc", filepath.Dir(lock))
			leftAlone(t, pid, gone)
			if _, err := os.Lstat(lock); name == "nothing" && err == nil {
				t.Error("the sweep made a lock")
			}
		})
	}
}

// TestSweepIDAlone: what a run left is swept whose lock holds its id alone, as
// of an earlier version.
func TestSweepIDAlone(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, lockName), []byte("abc"), 0o644))
	pid, gone := stranger(t, "abc", dir)
	swept(t, pid, gone)
}

// TestSweepCopy: a run that lives is left alone when its folder is replaced by
// a copy, which has no lock; and swept when it is dead and has its own again.
func TestSweepCopy(t *testing.T) {
	f, err := Make(t.TempDir(), "x", "abc", time.Now())
	must(t, err)
	defer f.Close()
	pid, gone := stranger(t, "abc", f.Path)
	if p := sweeping(t, pid); p != nil {
		t.Errorf("the sweep says %+v of a run that lives", p)
	}
	must(t, os.Rename(f.Path, f.Path+".old"))
	must(t, os.CopyFS(f.Path, os.DirFS(f.Path+".old")))
	leftAlone(t, pid, gone)
	must(t, os.RemoveAll(f.Path))
	must(t, os.Rename(f.Path+".old", f.Path))
	must(t, f.Close())
	swept(t, pid, gone)
}
