//go:build !unix

package process

import (
	"errors"
	"os"
	goruntime "runtime"
)

var errExecFormat = errors.New("exec format error")

const continueSignal = osSignal(0)

type osSignal int

func (osSignal) Signal()        {}
func (osSignal) String() string { return "continue" }

var _ os.Signal = continueSignal

// New says that this system is not supported.
func New() (Driver, error) {
	return nil, errors.New("process: running nodes is not supported on " + goruntime.GOOS +
		", which has no process groups that can be signalled and swept: use Linux or macOS")
}
