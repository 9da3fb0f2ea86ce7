//go:build !unix

package process

import (
	"errors"
	"os"
	goruntime "runtime"
	"syscall"
)

var errExecFormat = errors.New("exec format error")

const ContinueSignal = osSignal(0)

type osSignal int

func (osSignal) Signal()        {}
func (osSignal) String() string { return "continue" }

var _ os.Signal = ContinueSignal

// Keeper does nothing here: what a keeper does takes Linux.
func Keeper() bool { return false }

// New says that this system is not supported.
func New(Options) (Driver, error) {
	return nil, errors.New("process: running nodes is not supported on " + goruntime.GOOS +
		", which has no process groups that can be signalled and swept: use Linux or macOS")
}

// Can says that this system is not supported.
func Can(string) error {
	_, err := New(Options{})
	return err
}

// SignalName is the system's word for a signal.
func SignalName(s syscall.Signal) string { return s.String() }

// ParseSignal finds nothing: there are no signals here.
func ParseSignal(string) syscall.Signal { return 0 }
