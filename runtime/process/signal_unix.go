//go:build unix

package process

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalName is a signal's name without SIG, such as "KILL".
func SignalName(s syscall.Signal) string { return strings.TrimPrefix(unix.SignalName(s), "SIG") }

// ParseSignal finds the signal of a name, such as "KILL" or "SIGKILL"; 0 if
// there is none.
func ParseSignal(name string) syscall.Signal {
	return unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
}
