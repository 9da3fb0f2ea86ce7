package clock

import "golang.org/x/sys/unix"

// Monotonic is the machine's monotonic clock in nanoseconds, CLOCK_MONOTONIC, which all
// processes of a machine read alike; 0 where it cannot be read.
func Monotonic() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}
