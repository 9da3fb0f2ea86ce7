//go:build unix

package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const (
	errExecFormat  = unix.ENOEXEC
	continueSignal = unix.SIGCONT
)

// spawners is how many threads fork. The forking thread sleeps until its child
// has called exec, so that two are faster than one; more are not.
const spawners = 2

// New makes the driver of this machine.
func New() (Driver, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	d := &driver{null: null, fork: make(chan func())}
	for range spawners {
		d.threads.Go(d.spawn)
	}
	return d, nil
}

type driver struct {
	null    *os.File
	fork    chan func()
	threads sync.WaitGroup
	living  sync.WaitGroup // the processes

	mu     sync.Mutex
	closed bool
}

// spawn forks on one thread for as long as the driver lives: the parent-death
// signal comes at the end of the thread that forked (prctl(2),
// PR_SET_PDEATHSIG), and a thread that a goroutine has locked ends with it.
// When the driver closes there are no children left, and the thread is given
// back.
func (d *driver) spawn() {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	for fork := range d.fork {
		fork()
	}
}

func (d *driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.living.Wait()
	close(d.fork)
	d.threads.Wait()
	return d.null.Close()
}

func (d *driver) Start(s Spec) (Process, error) {
	if len(s.Argv) == 0 {
		return nil, &StartError{Program: "a process", Reason: "its command line is empty"}
	}
	path, err := LookPath(s.Argv[0], s.Dir, s.Env)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, fmt.Errorf("process: the driver is closed: %w", os.ErrClosed)
	}
	d.living.Add(1)
	d.mu.Unlock()
	p := &running{done: make(chan struct{})}
	if err := p.start(d, path, s); err != nil {
		d.living.Done()
		return nil, err
	}
	go func() {
		defer d.living.Done()
		p.watch()
	}()
	return p, nil
}

// running is a process of the driver.
type running struct {
	pid     int
	outputs []*output
	reading sync.WaitGroup
	done    chan struct{}
	exit    Exit // once done is closed

	mu      sync.Mutex
	process *os.Process // nil once it has been reaped
}

func (p *running) PID() int              { return p.pid }
func (p *running) Done() <-chan struct{} { return p.done }
func (p *running) Exit() Exit            { return p.exit }

func (p *running) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return os.ErrProcessDone
	}
	sig, ok := s.(syscall.Signal)
	if !ok {
		return fmt.Errorf("process: %v is no signal of this system", s)
	}
	// The leader, dead or alive, has not been reaped: its number is its group's.
	if err := unix.Kill(-p.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot signal process group %d: %w", p.pid, err)
	}
	return nil
}

func (p *running) start(d *driver, path string, s Spec) error {
	attr := &os.ProcAttr{Dir: s.Dir, Env: s.Env, Sys: &syscall.SysProcAttr{Setpgid: true}}
	dieWithParent(attr.Sys)
	var ends []*os.File // the child's
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	if s.TTY {
		master, slave, err := openTTY()
		if err != nil {
			return fmt.Errorf("cannot open a terminal for %s: %w", s.Argv[0], err)
		}
		ends = append(ends, slave)
		p.outputs = append(p.outputs, &output{from: master, to: s.Stdout})
		attr.Files = []*os.File{slave, slave, slave}
		attr.Sys.Setpgid = false // a session leader leads its group
		attr.Sys.Setsid, attr.Sys.Setctty, attr.Sys.Ctty = true, true, 0
	} else {
		attr.Files = []*os.File{d.null}
		for _, to := range []io.Writer{s.Stdout, s.Stderr} {
			if to == nil {
				to = io.Discard
			}
			r, w, err := os.Pipe()
			if err != nil {
				p.closeOutputs()
				return fmt.Errorf("cannot open a pipe for %s: %w", s.Argv[0], err)
			}
			ends = append(ends, w)
			p.outputs = append(p.outputs, &output{from: r, to: to})
			attr.Files = append(attr.Files, w)
		}
	}
	var err error
	forked := make(chan struct{})
	d.fork <- func() {
		defer close(forked)
		p.process, err = os.StartProcess(path, s.Argv, attr)
	}
	<-forked
	if err != nil {
		p.closeOutputs()
		return startError(s.Argv[0], err)
	}
	p.pid = p.process.Pid
	for _, o := range p.outputs {
		p.reading.Go(o.read)
	}
	return nil
}

func (p *running) closeOutputs() {
	for _, o := range p.outputs {
		o.from.Close()
	}
}

// openTTY opens a terminal whose master end can be waited for without a thread.
func openTTY() (master, slave *os.File, err error) {
	m, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		slave.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), m.Name()), slave, nil
}

// watch sees the process to its end.
func (p *running) watch() {
	awaitExit(p.process)
	// Until it is reaped its number is not given to another, so that what is
	// left of the group can be killed without a doubt about whose it is.
	p.exit.Left, _ = groupMembers(p.pid, p.pid+1)
	unix.Kill(-p.pid, unix.SIGKILL)
	p.mu.Lock()
	state, err := p.process.Wait()
	p.process = nil
	p.mu.Unlock()
	awaitGroup(p.pid)
	for _, o := range p.outputs {
		o.from.SetReadDeadline(time.Now()) // what it wrote is in the pipe
	}
	p.reading.Wait()
	p.exit.Code = -1
	if err == nil {
		p.exit.User, p.exit.System = state.UserTime(), state.SystemTime()
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.exit.Signal = strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
		} else {
			p.exit.Code = state.ExitCode()
		}
		if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
			p.exit.MaxRSS = int64(usage.Maxrss) * maxRSSUnit
		}
	}
	close(p.done)
}

// killedWithin bounds the wait for killed processes to be gone.
const killedWithin = 5 * time.Second

// awaitGroup waits until a group that was killed is gone. Its processes are not
// our children, so that nothing tells when they end, and their zombies are
// another's to reap.
func awaitGroup(pgid int) {
	var pause time.Duration
	for began := time.Now(); time.Since(began) < killedWithin; {
		if errors.Is(unix.Kill(-pgid, 0), unix.ESRCH) {
			return
		}
		if _, alive := groupMembers(pgid, 1); !alive {
			return
		}
		pause = min(max(2*pause, time.Millisecond), 50*time.Millisecond)
		time.Sleep(pause)
	}
}

// output is one stream of a process and its reader.
type output struct {
	from   *os.File
	to     io.Writer
	failed bool
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 4<<10); return &b }}

// lastBytes bounds what is read after the end of a process: more than a pipe
// can hold (pipe(7), the largest that an ordinary user can ask for), so that
// all that the process wrote is among it, whoever else writes on.
const lastBytes = 1 << 20

func (o *output) read() {
	defer o.from.Close()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := o.from.Read(*buf)
		o.write((*buf)[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil { // its end; a terminal says it by EIO
			return
		}
	}
	raw, err := o.from.SyscallConn()
	if err != nil {
		return
	}
	for left := lastBytes; left > 0; {
		var n int
		err := raw.Control(func(fd uintptr) {
			for {
				if n, err = unix.Read(int(fd), *buf); !errors.Is(err, unix.EINTR) {
					return
				}
			}
		})
		if n <= 0 || err != nil {
			return
		}
		o.write((*buf)[:n])
		left -= n
	}
}

func (o *output) write(p []byte) {
	if len(p) > 0 && !o.failed && o.to != nil {
		_, err := o.to.Write(p)
		o.failed = err != nil
	}
}
