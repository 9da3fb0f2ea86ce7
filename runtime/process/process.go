// Package process starts, stops and captures the processes of a run.
//
// A Driver starts processes; New is this machine's, and another - a sealed
// namespace, a container or cluster engine - may stand in its place. Only
// processes that the driver started itself are ever signalled or waited for.
//
// On Linux a process dies with its driver's: it has a parent-death signal, sent
// from threads that live as long as the driver. Elsewhere there is no such
// thing.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	// Argv is the command line. Its first element is a path, or the name of a
	// program in the PATH of Env.
	Argv []string
	// Env is the whole environment, KEY=VALUE.
	Env []string
	// Dir is the working folder; "" is the driver's own.
	Dir string
	// TTY gives the process a terminal instead of pipes; what it writes there
	// goes to Stdout.
	TTY bool
	// Stdout and Stderr are given what the process writes, as it was read, each
	// from one goroutine. Nil throws it away, and so does a writer that fails:
	// a process is never held up by an error of its reader. The order between
	// the two streams is only that in which they were read.
	Stdout, Stderr io.Writer
}

// Driver starts processes.
type Driver interface {
	// Start starts a process; it is a *StartError where the program or the
	// working folder is at fault.
	Start(Spec) (Process, error)
	// Close waits for the processes that are still running, and then gives
	// back what the driver holds.
	Close() error
}

// Process is a process that was started, with what it started itself and left
// in its process group.
type Process interface {
	PID() int
	// Signal sends a signal to the whole group. It is os.ErrProcessDone once
	// the process has ended, and then reaches nobody.
	Signal(os.Signal) error
	// Done is closed when the process has ended, what it left in its group has
	// been killed, and its output has been read to the end.
	Done() <-chan struct{}
	// Exit tells how it ended, once Done is closed.
	Exit() Exit
}

// Exit is how a process ended.
type Exit struct {
	Code         int    // -1 where a signal ended it
	Signal       string // "KILL", "SEGV", …; "" where it exited
	User, System time.Duration
	MaxRSS       int64 // bytes
	Left         []int // processes of its group that outlived it and were killed, as far as they were seen
}

// Stop ends a process: TERM to its group, with CONT for one that is stopped,
// and KILL where it is not gone after the grace or once ctx is done. It returns
// when the process is Done, and tells whether KILL was needed.
func Stop(ctx context.Context, p Process, grace time.Duration) (killed bool, err error) {
	if ctx.Err() == nil {
		for _, s := range []os.Signal{syscall.SIGTERM, continueSignal} {
			if err := p.Signal(s); errors.Is(err, os.ErrProcessDone) {
				<-p.Done()
				return false, nil
			} else if err != nil {
				return false, err
			}
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.Done():
			return false, nil
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	err = p.Signal(os.Kill)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	} else {
		killed = true
	}
	if err == nil {
		<-p.Done()
	}
	return killed, err
}

// StartError is a program that cannot be started.
type StartError struct {
	Program string
	Reason  string
	Err     error // of the system, or nil
}

func (e *StartError) Error() string { return fmt.Sprintf("cannot start %s: %s", e.Program, e.Reason) }
func (e *StartError) Unwrap() error { return e.Err }

// LookPath finds the program that Start would start, and finds what would keep
// it from starting as far as can be told without starting it. The error is a
// *StartError.
func LookPath(program, dir string, env []string) (string, error) {
	fail := func(err error, reason string, args ...any) (string, error) {
		return "", &StartError{Program: program, Reason: fmt.Sprintf(reason, args...), Err: err}
	}
	if program == "" {
		return fail(nil, "no program is named")
	}
	if dir != "" {
		if info, err := os.Stat(dir); err != nil {
			return fail(err, "its working folder %s does not exist", dir)
		} else if !info.IsDir() {
			return fail(nil, "its working folder %s is a file", dir)
		}
	}
	path := program
	if !strings.ContainsRune(program, '/') && !strings.ContainsRune(program, os.PathSeparator) {
		found := ""
		search := variable(env, "PATH")
		for _, folder := range filepath.SplitList(search) {
			if p, err := exec.LookPath(filepath.Join(folder, program)); err == nil {
				found = p
				break
			}
		}
		if found == "" {
			return fail(fs.ErrNotExist, "no such program in PATH (%s); to run a file, write its path with a slash", search)
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fail(err, "%v", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(err, "no such file: %s", path)
	case err != nil:
		return fail(err, "%v", err)
	case info.IsDir():
		return fail(nil, "it is a folder; the path of a program was expected")
	}
	if _, err := exec.LookPath(path); err != nil {
		return fail(err, "it is not executable (mode %s); chmod +x it", info.Mode())
	}
	if interpreter := interpreterOf(path); interpreter != "" {
		if _, err := os.Stat(interpreter); err != nil {
			return fail(err, "its first line names the interpreter %s, which does not exist", interpreter)
		}
	}
	return path, nil
}

// interpreterOf is the program that a script's first line names, or "".
func interpreterOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	rest, isScript := strings.CutPrefix(line, "#!")
	if fields := strings.Fields(rest); isScript && len(fields) > 0 {
		return fields[0]
	}
	return ""
}

func variable(env []string, name string) string {
	value := ""
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// startError words an error of starting a program that LookPath let pass.
func startError(program string, err error) error {
	reason := err.Error()
	switch {
	case errors.Is(err, errExecFormat):
		reason = "it is no program for this machine: neither an executable of its architecture nor a script that begins with #!"
	case errors.Is(err, fs.ErrNotExist):
		reason = "what it needs to be loaded, such as its dynamic linker, does not exist on this machine"
	case errors.Is(err, fs.ErrPermission):
		reason = "permission denied"
	}
	return &StartError{Program: program, Reason: reason, Err: err}
}
