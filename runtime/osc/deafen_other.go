//go:build !linux

package osc

import "net"

func deafen(net.Listener) {}
