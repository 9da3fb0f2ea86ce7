package process

import (
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller waits for any number of files on few goroutines: one that waits for each
// would have a stack for each, and most of many are silent.
type poller struct {
	epoll  *os.File
	raw    syscall.RawConn
	polled sync.WaitGroup

	mu    sync.Mutex
	last  int32 // the number that a file was given last
	files map[int32]polled
}

// polled is a file that a poller waits for. ready is called when there is something to
// be read, with a buffer that it may use, and not again until that was asked for.
type polled interface{ ready(buf []byte) }

// pollReaders is how many goroutines read the pipes of a driver. Where the reader of
// one is slow, the other ones go on.
const pollReaders = 4

// pollSize is how much each of them reads at a time: what a pipe can hold.
const pollSize = 64 << 10

func newPoller(goroutines int) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that a goroutine can wait for it without a thread
		unix.Close(fd)
		return nil, err
	}
	p := &poller{epoll: os.NewFile(uintptr(fd), "epoll"), files: map[int32]polled{}}
	if p.raw, err = p.epoll.SyscallConn(); err != nil {
		p.epoll.Close()
		return nil, err
	}
	for range goroutines {
		p.polled.Go(p.poll)
	}
	return p, nil
}

func (p *poller) close() error {
	err := p.epoll.Close()
	p.polled.Wait()
	return err
}

// add begins to wait for a file, and returns the number that it has here.
func (p *poller) add(fd int, f polled) (number int32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.last++; p.files[p.last] != nil; p.last++ {
	}
	p.files[p.last] = f
	if err := p.control(unix.EPOLL_CTL_ADD, fd, p.last); err != nil {
		delete(p.files, p.last)
		return 0, os.NewSyscallError("epoll_ctl", err)
	}
	return p.last, nil
}

// again asks to be told once more of a file.
func (p *poller) again(fd int, number int32) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, number)
}

// remove waits for a file no longer, and closes it.
func (p *poller) remove(fd int, number int32) {
	p.mu.Lock()
	delete(p.files, number)
	p.mu.Unlock()
	p.control(unix.EPOLL_CTL_DEL, fd, number) // a process that is just being forked may hold it
	unix.Close(fd)
}

func (p *poller) control(op, fd int, number int32) (err error) {
	failed := p.raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), op, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: number})
	})
	if failed != nil {
		return failed
	}
	return err
}

// poll waits for files until the poller is closed.
func (p *poller) poll() {
	buf := make([]byte, pollSize)
	for {
		var events [1]unix.EpollEvent
		n := 0
		err := p.raw.Read(func(epoll uintptr) bool {
			n, _ = unix.EpollWait(int(epoll), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		p.mu.Lock()
		f := p.files[events[0].Fd]
		p.mu.Unlock()
		if f != nil {
			f.ready(buf)
		}
	}
}

// pipe is one stream of a process, read by a poller.
type pipe struct {
	poller *poller
	to     io.Writer
	over   func() // called once when it has been read to its end

	mu     sync.Mutex
	number int32
	fd     int // -1 once it is closed
	failed bool
}

// open opens a pipe, of which the poller reads one end; theirs is the other one. over
// is called once when all has been read.
func (p *poller) open(to io.Writer, over func()) (own *pipe, theirs *os.File, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	own = &pipe{poller: p, to: to, over: over, fd: ends[0]}
	theirs = os.NewFile(uintptr(ends[1]), "|1")
	own.mu.Lock()
	defer own.mu.Unlock()
	if err = unix.SetNonblock(own.fd, true); err == nil {
		own.number, err = p.add(own.fd, own)
	}
	if err != nil {
		unix.Close(own.fd)
		theirs.Close()
		return nil, nil, err
	}
	return own, theirs, nil
}

// ready reads once, and asks to be told of more.
func (o *pipe) ready(buf []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return
	}
	n, err := o.readOnce(buf)
	if n == 0 && err == nil {
		endStream(o.to)
	}
	if n <= 0 && err != unix.EAGAIN || o.poller.again(o.fd, o.number) != nil {
		o.close()
	}
}

func (o *pipe) readOnce(buf []byte) (n int, err error) {
	for {
		if n, err = unix.Read(o.fd, buf); err != unix.EINTR {
			break
		}
	}
	if n > 0 && !o.failed {
		_, failed := o.to.Write(buf[:n])
		o.failed = failed != nil
	}
	return n, err
}

// close closes the pipe. The lock is held.
func (o *pipe) close() {
	if o.fd < 0 {
		return
	}
	o.poller.remove(o.fd, o.number)
	o.fd = -1
	o.over()
}

func (o *pipe) readNow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
}

func (o *pipe) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
	o.close()
}

// drain reads what is in the pipe. The lock is held.
func (o *pipe) drain() {
	if o.fd < 0 {
		return
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for left := lastBytes; left > 0; {
		n, _ := o.readOnce(*buf)
		if n <= 0 {
			return
		}
		left -= n
	}
}

// exit is the end of a child, which its pidfd tells.
type exit struct {
	poller *poller
	fd     int
	over   func() // called in a goroutine of its own

	mu     sync.Mutex
	number int32
}

// awaitExit calls over in a goroutine of its own when the child of a pidfd, which it
// closes, has ended. Where the kernel cannot tell, that is the error.
func (p *poller) awaitExit(pidfd int, over func()) (err error) {
	e := &exit{poller: p, fd: pidfd, over: over}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number, err = p.add(pidfd, e)
	return err
}

func (e *exit) ready([]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PIDFD, e.fd, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	if err == nil && info.Signo == 0 && e.poller.again(e.fd, e.number) == nil {
		return
	}
	e.poller.remove(e.fd, e.number)
	go e.over()
}
