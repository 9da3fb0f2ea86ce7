package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxPath is the longest path of a socket (unix(7), sun_path), with room for the 0
	// that many programs put after it.
	maxPath = 107
	// maxMessage is the longest message that counts; that of systemd is 4 KiB.
	maxMessage = 64 << 10
	// maxFiles is how many files can come with a message (unix(7), SCM_MAX_FD).
	maxFiles = 253
	// maxLast bounds what is read when the socket is closed: more than can wait there
	// (unix(7), max_dgram_qlen), unless somebody goes on to send.
	maxLast = 4096
)

// Notify is the socket by which one incarnation of a node says that it is ready: the
// other side of sd_notify(3).
type Notify struct {
	told
	address string
	file    fs.FileInfo // of the socket, or nil where it is abstract
	users   []uint32
	conn    *net.UnixConn
	raw     syscall.RawConn
	reading sync.WaitGroup

	buffer, control []byte // of whoever receives
}

// ListenNotify makes the socket at a path, which may be that of the node's incarnation
// before. It has to be made before the node is forked, and its Address to be in the
// node's environment, as NOTIFY_SOCKET.
//
// A path longer than 107 bytes is none that a socket can have; then its name is an
// abstract one, which a node in another network namespace does not reach. A message
// counts if it was sent by one of the users, by root or by this process's user.
func ListenNotify(path string, users ...uint32) (*Notify, error) {
	n := &Notify{
		told: told{ready: make(chan struct{})}, address: path, users: append(slices.Clone(users), 0, uint32(os.Geteuid())),
		buffer: make([]byte, maxMessage+1), control: make([]byte, unix.CmsgSpace(4*maxFiles)+unix.CmsgSpace(unix.SizeofUcred)),
	}
	if len(path) > maxPath {
		n.address = "@dagon-star-" + rand.Text()
	} else if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(path)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { // before the first message can come
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }), err)
	}}
	conn, err := config.ListenPacket(context.Background(), "unixgram", n.address)
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket for sd_notify: %w", err)
	}
	n.conn = conn.(*net.UnixConn)
	if n.address == path {
		if n.file, err = os.Lstat(path); err == nil {
			err = os.Chmod(path, 0o666) // who the node runs as may be another user; who sends is looked at
		}
	}
	if err == nil {
		n.raw, err = n.conn.SyscallConn()
	}
	if err != nil {
		n.conn.Close()
		n.remove()
		return nil, fmt.Errorf("cannot make the socket for sd_notify: %w", err)
	}
	n.reading.Go(n.read)
	return n, nil
}

// Address is what the node finds the socket by.
func (n *Notify) Address() string { return n.address }

// Close hears what has been sent, and closes the socket.
func (n *Notify) Close() error {
	n.conn.SetReadDeadline(aLongTimeAgo)
	n.reading.Wait()
	n.raw.Control(func(fd uintptr) {
		for range maxLast {
			if n.receive(int(fd)) != nil {
				return
			}
		}
	})
	return errors.Join(n.conn.Close(), n.remove())
}

// remove removes the socket's file, unless it is gone, or another one has taken its place.
func (n *Notify) remove() error {
	if n.file == nil {
		return nil
	}
	if now, err := os.Lstat(n.address); err != nil || !os.SameFile(now, n.file) {
		return nil
	}
	return os.Remove(n.address)
}

func (n *Notify) read() {
	for {
		var failed error
		err := n.raw.Read(func(fd uintptr) bool {
			failed = n.receive(int(fd))
			return failed != unix.EAGAIN
		})
		if err != nil || failed != nil && failed != unix.EINTR {
			return
		}
	}
}

// receive takes a message, and the files that came with it, which nobody wants: they
// are closed, for which sd_notify_barrier(3) waits.
func (n *Notify) receive(fd int) error {
	length, controls, flags, _, err := unix.Recvmsg(fd, n.buffer, n.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, _ := unix.ParseSocketControlMessage(n.control[:controls])
	var sender *unix.Ucred
	for _, m := range messages {
		if credentials, err := unix.ParseUnixCredentials(&m); err == nil {
			sender = credentials
			continue
		}
		files, _ := unix.ParseUnixRights(&m)
		for _, f := range files {
			unix.Close(f)
		}
	}
	switch {
	case sender == nil:
	case !slices.Contains(n.users, sender.Uid):
		n.refuse(sender.Uid)
	case flags&unix.MSG_TRUNC == 0 && length <= maxMessage:
		n.hear(string(n.buffer[:length]))
	}
	return nil
}
