//go:build unix

package live

import (
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"
)

// openTerminal takes this process's terminal, written to by outlet.
func openTerminal(outlet func(io.Writer) io.Writer) (tcell.Screen, error) {
	if !(&job{}).foreground() { // whoever changes a terminal from the background is stopped
		return nil, os.ErrPermission
	}
	tty, err := tcell.NewDevTty()
	if err != nil {
		return nil, err
	}
	out := &through{Tty: tty, w: tty}
	if outlet != nil {
		out.w = outlet(tty)
	}
	screen, err := tcell.NewTerminfoScreenFromTty(out)
	if err != nil {
		return nil, err
	}
	return screen, screen.Init()
}

// through is a terminal that is written to by another way.
type through struct {
	tcell.Tty
	w io.Writer
}

func (t *through) Write(p []byte) (int, error) { return t.w.Write(p) }

// job is this process as one that a shell may stop and let go on.
type job struct{ continued chan os.Signal }

func newJob() *job {
	j := &job{continued: make(chan os.Signal, 1)}
	signal.Notify(j.continued, unix.SIGCONT)
	return j
}

func (j *job) close() { signal.Stop(j.continued) }

// stoppedWithin is how long a signal may take to stop this process. It stops none whose
// shell is gone, or that has none.
const stoppedWithin = 300 * time.Millisecond

// stop stops this process and those that the shell knows as one with it, and returns when
// it goes on. Nobody here is notified of the signal: Go would not let it stop us after that.
func (j *job) stop() {
	if syscall.Kill(0, unix.SIGTSTP) != nil {
		return
	}
	late := time.NewTimer(stoppedWithin)
	defer late.Stop()
	select {
	case <-j.continued:
	case <-late.C:
	}
}

// foreground reports whether this process may change its terminal.
func (j *job) foreground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
