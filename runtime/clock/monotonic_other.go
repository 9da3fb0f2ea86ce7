//go:build !linux

package clock

// Monotonic is 0: only Linux has a monotonic clock here that processes share.
func Monotonic() int64 { return 0 }
