//go:build unix

package userfile

import "syscall"

// unblocked has a file opened at once, though it is a FIFO that nobody writes to,
// and a terminal opened without becoming this process's own.
const unblocked = syscall.O_NONBLOCK | syscall.O_NOCTTY
