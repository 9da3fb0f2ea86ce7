//go:build !linux

package link

import (
	"errors"
	"net/netip"
	"syscall"
)

// choosePortLate does nothing: calls are not bound to a source address here.
func choosePortLate(syscall.RawConn) {}

// Where the loopback is one address, each relay has a port of its own.

func sharePort(syscall.RawConn) error    { return errors.ErrUnsupported }
func tellHost(syscall.RawConn) error     { return errors.ErrUnsupported }
func onlyLoopback(syscall.RawConn) error { return errors.ErrUnsupported }

func mute(syscall.RawConn) error     { return errors.ErrUnsupported }
func unaccepted(syscall.RawConn) int { return 0 }

func receiveFrom(syscall.RawConn, []byte, bool) (n int, caller netip.AddrPort, host netip.Addr, err error) {
	return 0, caller, host, errors.ErrUnsupported
}
