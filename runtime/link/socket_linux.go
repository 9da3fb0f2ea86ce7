package link

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// choosePortLate has the kernel choose the port of a socket that is bound to a source
// address when it calls, and not when it is bound. Until it calls the kernel cannot
// know that another connection with the same port goes elsewhere: it would keep the
// port for this one alone, and no other process of the machine could call from it.
func choosePortLate(c syscall.RawConn) { option(c, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT) }

// sharePort lets a socket stand beside others of this process at its port, if they are
// to be shared as well.
func sharePort(c syscall.RawConn) error { return option(c, unix.SOL_SOCKET, unix.SO_REUSEPORT) }

// tellHost has a socket of datagrams tell to which host each was sent.
func tellHost(c syscall.RawConn) error { return option(c, unix.IPPROTO_IP, unix.IP_PKTINFO) }

// onlyLoopback keeps a socket that is bound to all addresses from other machines. It is
// errors.ErrUnsupported where that takes a privilege, as it does before Linux 5.7.
func onlyLoopback(c syscall.RawConn) (failure error) {
	err := c.Control(func(fd uintptr) { failure = unix.BindToDevice(int(fd), "lo") })
	if failure != nil {
		failure = fmt.Errorf("%w: %w", errors.ErrUnsupported, os.NewSyscallError("setsockopt", failure))
	}
	return errors.Join(err, failure)
}

// mute has a listener hear no more calls, and keep those that it has heard: it listens to
// a device that there is not (SO_BINDTOIFINDEX). It is an error for one that listens to
// a device already.
func mute(c syscall.RawConn) (failure error) {
	err := c.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, math.MaxInt32)
	})
	return errors.Join(err, failure)
}

// unaccepted is how many connections of a listener wait to be accepted.
func unaccepted(c syscall.RawConn) (n int) {
	c.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked) // of a listener it is that
		}
	})
	return n
}

// receiveFrom receives a datagram from a socket that tells to which host it was sent. If
// it is not to wait and there is none, it is EAGAIN.
func receiveFrom(c syscall.RawConn, buf []byte, wait bool) (n int, caller netip.AddrPort, host netip.Addr, err error) {
	control := make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	var size int
	var from unix.Sockaddr
	var failure error
	err = c.Read(func(fd uintptr) bool {
		n, size, _, from, failure = unix.Recvmsg(int(fd), buf, control, unix.MSG_DONTWAIT)
		return failure != unix.EAGAIN || !wait
	})
	if err := errors.Join(err, failure); err != nil {
		return 0, caller, host, err
	}
	if a, ok := from.(*unix.SockaddrInet4); ok {
		caller = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			host = netip.AddrFrom4([4]byte(m.Data[8:])) // ipi_addr
		}
	}
	return n, caller, host, err
}
