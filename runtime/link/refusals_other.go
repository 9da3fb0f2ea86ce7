//go:build !linux

package link

import (
	"errors"
	"net/netip"
	"sync/atomic"
)

// watch is not to be had here.
type watch struct{ lost atomic.Bool }

func newWatch(func(refusal)) (*watch, error) { return nil, errors.ErrUnsupported }

func (*watch) settle(netip.AddrPort)  {}
func (*watch) silence() (int64, bool) { return 0, false }
func (*watch) leastSilence() int64    { return 0 }
func (*watch) close()                 {}
