//go:build !linux

package probe

import (
	"errors"
	goruntime "runtime"
)

// Notify is the socket by which a node says that it is ready; it takes Linux.
type Notify struct{ told }

// ListenNotify says that this system has no sd_notify.
func ListenNotify(string, ...uint32) (*Notify, error) {
	return nil, errors.New("ready.notify is not supported on " + goruntime.GOOS + ": sd_notify takes Linux; use ready.log, ready.port or ready.http")
}

// Address is "".
func (n *Notify) Address() string { return "" }

// Close does nothing.
func (n *Notify) Close() error { return nil }
