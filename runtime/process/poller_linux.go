package process

import (
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller reads any number of pipes on few goroutines: one that waits for each pipe
// would have a stack for each, and most of many pipes are silent.
type poller struct {
	epoll   *os.File
	raw     syscall.RawConn
	reading sync.WaitGroup

	mu    sync.Mutex
	last  int32 // the number that a pipe was given last
	pipes map[int32]*pipe
}

// pollReaders is how many goroutines read. Where the reader of one is slow, the other
// ones go on.
const pollReaders = 4

// pollSize is how much each of them reads at a time: what a pipe can hold.
const pollSize = 64 << 10

// pipe is one stream of a process, read by a poller.
type pipe struct {
	poller *poller
	number int32
	to     io.Writer
	over   func() // called once when it has been read to its end

	mu     sync.Mutex
	fd     int // -1 once it is closed
	failed bool
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that a goroutine can wait for it without a thread
		unix.Close(fd)
		return nil, err
	}
	p := &poller{epoll: os.NewFile(uintptr(fd), "epoll"), pipes: map[int32]*pipe{}}
	if p.raw, err = p.epoll.SyscallConn(); err != nil {
		p.epoll.Close()
		return nil, err
	}
	for range pollReaders {
		p.reading.Go(p.read)
	}
	return p, nil
}

func (p *poller) close() error {
	err := p.epoll.Close()
	p.reading.Wait()
	return err
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
	if err = unix.SetNonblock(own.fd, true); err == nil {
		err = p.add(own)
	}
	if err != nil {
		unix.Close(own.fd)
		theirs.Close()
		return nil, nil, err
	}
	return own, theirs, nil
}

// pipeEvents are what of a pipe is told, once until it is asked for again, so that one
// goroutine reads it at a time.
const pipeEvents = unix.EPOLLIN | unix.EPOLLONESHOT

func (p *poller) add(own *pipe) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.last++; p.pipes[p.last] != nil; p.last++ {
	}
	own.number = p.last
	p.pipes[own.number] = own
	if err := p.control(unix.EPOLL_CTL_ADD, own); err != nil {
		delete(p.pipes, own.number)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (p *poller) control(op int, of *pipe) (err error) {
	failed := p.raw.Control(func(fd uintptr) {
		err = unix.EpollCtl(int(fd), op, of.fd, &unix.EpollEvent{Events: pipeEvents, Fd: of.number})
	})
	if failed != nil {
		return failed
	}
	return err
}

// read reads what there is to be read, until the poller is closed.
func (p *poller) read() {
	buf := make([]byte, pollSize)
	for {
		var events [1]unix.EpollEvent
		n := 0
		err := p.raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		p.mu.Lock()
		ready := p.pipes[events[0].Fd]
		p.mu.Unlock()
		if ready != nil {
			ready.ready(buf)
		}
	}
}

// ready reads once, and asks to be told of more.
func (o *pipe) ready(buf []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return
	}
	if n, err := o.readOnce(buf); n <= 0 && err != unix.EAGAIN || o.poller.control(unix.EPOLL_CTL_MOD, o) != nil {
		o.close()
	}
}

func (o *pipe) readOnce(buf []byte) (n int, err error) {
	for {
		if n, err = unix.Read(o.fd, buf); err != unix.EINTR {
			break
		}
	}
	if n > 0 && !o.failed && o.to != nil {
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
	p := o.poller
	p.mu.Lock()
	delete(p.pipes, o.number)
	p.mu.Unlock()
	p.control(unix.EPOLL_CTL_DEL, o) // a process that is just being forked may hold the pipe
	unix.Close(o.fd)
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
