package process

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A keeper and its driver talk over a socket that the keeper has as its file 3:
// requests one way, with the files of a fork attached, replies the other.
type (
	request struct {
		ID     uint64
		Op     op
		Child  uint64 // the ID of the request that forked it
		Image  *wireImage
		Signal int
		Reach  Reach
		Limits Limits
	}
	wireImage struct {
		Path, Dir, Tag string
		Argv, Env      []string
		TTY            bool
		User           *Credential
	}
	reply struct {
		ID      uint64 // of the request; for an exit, that which forked the child
		Forked  bool
		PID     int
		Reached int
		Used    map[uint64]Usage // of children, by the requests that forked them
		Exit    *Exit
		Error   *wireError

		child *remote // what the driver made of it
	}
	wireError struct {
		Text  string
		Errno int // of the system, 0 for another
		Done  bool
	}
)

type op int

const (
	opFork op = iota
	opSignal
	opPause
	opResume
	opLimit
	opUsage
	opClose
)

// files is how many files come with a fork.
const files = 3

func (e *wireError) Error() string { return e.Text }

func (e *wireError) Is(target error) bool {
	return e.Done && target == os.ErrProcessDone || e.Errno != 0 && errors.Is(syscall.Errno(e.Errno), target)
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error(), Done: errors.Is(err, os.ErrProcessDone)}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		w.Errno = int(errno)
	}
	return w
}

// rightsReader reads a stream and keeps the files that come with it. The kernel
// gives the files of a message no later than its first byte, and never those of
// two messages at once (unix(7), SCM_RIGHTS).
type rightsReader struct {
	conn     *net.UnixConn
	received []*os.File
}

func (r *rightsReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*files))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(p, oob)
	if oobn > 0 {
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				r.received = append(r.received, os.NewFile(uintptr(fd), "node"))
			}
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err // n is -1 beside an error
}

// take takes the next files.
func (r *rightsReader) take(n int) []*os.File {
	n = min(n, len(r.received))
	taken := slices.Clone(r.received[:n])
	r.received = r.received[n:]
	return taken
}
