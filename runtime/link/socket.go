package link

import (
	"errors"
	"syscall"
)

// keepUrgent has an urgent byte stay where it was sent among the others (SO_OOBINLINE).
// Nobody who reads would find it else.
func keepUrgent(c syscall.RawConn) { option(c, solSocket, oobInline) }

// prepareCall is for a socket that is to call a target.
func prepareCall(_, _ string, c syscall.RawConn) error {
	keepUrgent(c)
	choosePortLate(c)
	return nil
}

// isOutOfFiles reports whether an error is that the process, or the machine, has no
// files left.
func isOutOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
