//go:build linux

package folder

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// stranger starts a process, of which this one is no ancestor, that says it is a
// node of a run with the folder; the channel is closed when it is gone.
func stranger(t *testing.T, id, folder string) (pid int, gone chan struct{}) {
	t.Helper()
	in, write, err := os.Pipe()
	must(t, err)
	read, out, err := os.Pipe()
	must(t, err)
	c := exec.Command("sh", "-c", "cat <&3 & echo $!")
	c.Env = append(os.Environ(), "DAGON_RUN="+id, "DAGON_NAME=x", Variable+"="+folder)
	c.Stdout, c.ExtraFiles = out, []*os.File{in}
	must(t, c.Run())
	in.Close()
	out.Close()
	said := bufio.NewReader(read)
	_, err = fmt.Fscanln(said, &pid)
	must(t, err)
	write.WriteString("x") // its environment can be read once it runs
	_, err = said.ReadByte()
	must(t, err)
	gone = make(chan struct{})
	go func() {
		said.ReadByte()
		close(gone)
	}()
	t.Cleanup(func() {
		write.Close()
		<-gone
		read.Close()
	})
	return pid, gone
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

// die ends a run as if its process were killed.
func die(t *testing.T, f *Folder) {
	t.Helper()
	close(f.closing)
	<-f.renewed
	f.closing = nil
	must(t, f.lock.Close())
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

// TestSweepNoLife: a process is left alone whose run's lock does not say when the
// run lived, as of an earlier version.
func TestSweepNoLife(t *testing.T) {
	f, err := Make(t.TempDir(), "x", "abc", time.Now())
	must(t, err)
	pid, gone := stranger(t, "abc", f.Path)
	must(t, f.lock.Truncate(f.said))
	die(t, f)
	leftAlone(t, pid, gone)
	f.Close()
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
	die(t, f)
	swept(t, pid, gone)
}

// TestSweepByHand: a process that is given the variables of a run by hand when the
// run is over is told of and left alone.
func TestSweepByHand(t *testing.T) {
	f, err := Make(t.TempDir(), "x", "abc", time.Now())
	must(t, err)
	must(t, f.Close())
	for end := process.Now().Ticks; process.Now().Ticks == end; { // the run's last tick is over
	}
	pid, gone := stranger(t, "abc", f.Path)
	if p := sweeping(t, pid); p == nil || p.Killed || !errors.Is(p.Err, ErrOutOfLife) {
		t.Errorf("the sweep says %+v", p)
	}
	select {
	case <-gone:
		t.Error("it was killed")
	default:
	}
}

// TestLease: a run that lives on is not held to have ended.
func TestLease(t *testing.T) {
	f, err := Make(t.TempDir(), "x", "abc", time.Now())
	must(t, err)
	defer f.Close()
	first, err := os.ReadFile(filepath.Join(f.Path, lockName))
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(f.Path, lockName)); err == nil && len(text) == len(first) && string(text) > string(first) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is still %q", first)
		}
	}
}
