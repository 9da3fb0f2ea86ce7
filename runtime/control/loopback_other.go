//go:build !linux

package control

import (
	"errors"
	"net"
)

// listenOnDevice cannot be done here, where the loopback has one address.
func listenOnDevice(string, int) (net.Listener, error) { return nil, errors.ErrUnsupported }

func callersPorts() int { return highestPort }
