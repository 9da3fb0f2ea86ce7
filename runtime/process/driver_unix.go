//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	errExecFormat  = unix.ENOEXEC
	ContinueSignal = unix.SIGCONT
)

// New makes the driver of this machine, on the highest rung of the containment
// ladder that it gives, or on the one that is asked for; it is a *ContainError
// where that one cannot be had.
func New(o Options) (Driver, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	d := &driver{null: null}
	if d.poller, err = newPoller(pollReaders); err != nil {
		null.Close()
		return nil, err
	}
	if d.forker, d.contain, err = climb(o, func(r Rung) (forker, error) { return newForker(r, o) }); err != nil {
		d.poller.close()
		null.Close()
		return nil, err
	}
	return d, nil
}

// forker is what forks: this process, or a keeper. What was forked is told to
// ended, once, when it has ended, which may be before fork returns.
type forker interface {
	fork(im image, ended func(Exit)) (tree, error)
	usage(context.Context) (map[tree]Usage, error)
	close() error
}

// image is what is executed: a path that is absolute, and the files that are
// its 0, 1 and 2.
type image struct {
	path  string
	argv  []string
	env   []string
	dir   string // absolute
	tag   string
	tty   bool        // the files are a terminal, which it shall own
	user  *Credential // nil where it is this process's
	files []*os.File
}

// tree is a process that was forked, with all that it starts. Its methods may
// be called from any goroutine.
type tree interface {
	pid() int
	alive() bool
	signal(syscall.Signal, Reach) (reached int, err error)
	pause() (reached int, err error)
	resume() error
	limit(Limits) (reached int, err error)
}

// driver starts processes with their output captured.
type driver struct {
	null    *os.File
	forker  forker
	poller  *poller
	contain Containment
	living  sync.WaitGroup // the processes

	mu     sync.Mutex
	closed bool
}

func (d *driver) Containment() Containment { return d.contain }
func (d *driver) Can(fault string) error   { return Can(fault) }

func (d *driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.living.Wait()
	return errors.Join(d.forker.close(), d.poller.close(), d.null.Close())
}

func (d *driver) Usage(ctx context.Context, of []Process) ([]Usage, error) {
	used, err := d.forker.usage(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Usage, len(of))
	for i, p := range of {
		if p, own := p.(*running); own {
			all[i] = used[p.tree]
		}
	}
	return all, nil
}

func (d *driver) KillKeeper() {
	if k, kept := d.forker.(interface{ giveUp() }); kept {
		k.giveUp()
	}
}

func (d *driver) Start(s Spec) (Process, error) {
	if len(s.Argv) == 0 {
		return nil, &StartError{Program: "a process", Reason: "its command line is empty"}
	}
	// To look at everything before costs more than to look at what is wrong where
	// the fork fails.
	path, err := filepath.Abs(s.Argv[0])
	if !strings.ContainsRune(s.Argv[0], '/') {
		path, err = LookPath(s.Argv[0], s.Dir, s.Env)
	}
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
	p := &running{living: &d.living, done: make(chan struct{})}
	if err := p.start(d, path, s); err != nil {
		d.living.Done()
		return nil, err
	}
	return p, nil
}

// running is a process of the driver.
type running struct {
	tree    tree
	outputs []stream
	reading sync.WaitGroup
	input   *os.File // what its standard input is written to, or nil
	feeding sync.WaitGroup
	living  *sync.WaitGroup // of the driver
	ending  Exit            // once done is closed
	done    chan struct{}

	mu    sync.Mutex
	after []func() // what is called once done is closed
}

// AfterEnd calls f in a goroutine of its own once Done is closed.
func (p *running) AfterEnd(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		go f()
	default:
		p.after = append(p.after, f)
	}
}

func (p *running) PID() int              { return p.tree.pid() }
func (p *running) Done() <-chan struct{} { return p.done }
func (p *running) Exit() Exit            { return p.ending }
func (p *running) Alive() bool           { return p.tree.alive() }
func (p *running) Resume() error         { return p.tree.resume() }

func (p *running) Pause() (reached int, err error)         { return p.tree.pause() }
func (p *running) Limit(l Limits) (reached int, err error) { return p.tree.limit(l) }

func (p *running) Signal(s os.Signal, to Reach) (reached int, err error) {
	sig, ok := s.(syscall.Signal)
	if !ok {
		return 0, fmt.Errorf("process: %v is no signal of this system", s)
	}
	return p.tree.signal(sig, to)
}

func (p *running) start(d *driver, path string, s Spec) (err error) {
	im := image{path: path, argv: s.Argv, env: s.Env, tag: s.Tag, tty: s.TTY}
	if im.dir, err = filepath.Abs(s.Dir); err != nil {
		return err
	}
	if c := s.Credential; c != nil && int(c.UID) != os.Geteuid() {
		im.user = c
	}
	var ends []*os.File // the child's
	defer func() {
		for _, f := range ends {
			f.Close()
		}
		if err != nil {
			for _, o := range p.outputs {
				o.end()
			}
			p.reading.Wait()
			p.endInput()
		}
	}()
	if s.TTY {
		master, slave, err := openTTY(s.TTYSize)
		if err != nil {
			return fmt.Errorf("cannot open a terminal for %s: %w", s.Argv[0], err)
		}
		ends = append(ends, slave)
		o := &output{from: master, to: &lineEnds{to: orDiscard(s.Stdout)}}
		p.outputs = append(p.outputs, o)
		p.reading.Go(o.read)
		im.files = []*os.File{slave, slave, slave}
	} else {
		im.files = []*os.File{d.null}
		if s.Stdin != "" {
			theirs, err := p.feed(s.Stdin)
			if err != nil {
				return fmt.Errorf("cannot open a pipe for %s: %w", s.Argv[0], err)
			}
			ends = append(ends, theirs)
			im.files[0] = theirs
		}
		for _, to := range []io.Writer{s.Stdout, s.Stderr} {
			p.reading.Add(1)
			own, theirs, err := d.poller.open(orDiscard(to), p.reading.Done)
			if err != nil {
				p.reading.Done()
				return fmt.Errorf("cannot open a pipe for %s: %w", s.Argv[0], err)
			}
			ends = append(ends, theirs)
			p.outputs = append(p.outputs, own)
			im.files = append(im.files, theirs)
		}
	}
	if im.user != nil && os.Geteuid() == 0 {
		for _, f := range ends { // it may open them again, by /dev/stdout
			if err := f.Chown(int(im.user.UID), int(im.user.GID)); err != nil {
				return fmt.Errorf("cannot give its input and output to %s: %w", im.user, err)
			}
		}
	}
	if p.tree, err = d.forker.fork(im, p.ended); err != nil {
		if _, wrong := LookPath(s.Argv[0], s.Dir, s.Env); wrong != nil {
			return wrong
		}
		if im.user != nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EINVAL)) {
			return &StartError{Program: s.Argv[0], Reason: im.user.refused(path, im.dir, err), Err: err}
		}
		return startError(s.Argv[0], path, err)
	}
	return nil
}

// orDiscard is the writer that was asked for, or one that throws all away.
func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// feed begins to write what a process reads, and returns the end that is the child's.
func (p *running) feed(input string) (theirs *os.File, err error) {
	if theirs, p.input, err = os.Pipe(); err != nil {
		return nil, err
	}
	p.feeding.Go(func() {
		defer p.input.Close()
		io.WriteString(p.input, input) // whoever does not read it all has not wanted it
	})
	return theirs, nil
}

// endInput ends the writing to a process that has ended.
func (p *running) endInput() {
	if p.input != nil {
		p.input.Close()
		p.feeding.Wait()
	}
}

// ended sees a process that has ended to the end of its output.
func (p *running) ended(e Exit) {
	defer p.living.Done()
	for _, o := range p.outputs {
		o.end() // what it wrote is in the pipe
	}
	p.reading.Wait()
	p.endInput()
	p.ending = e
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.done)
	for _, f := range p.after {
		go f()
	}
	p.after = nil
}

// ReadNow reads what is in the pipes.
func (p *running) ReadNow() {
	for _, o := range p.outputs {
		o.readNow()
	}
}

// stream is one stream of a process.
type stream interface {
	readNow() // what is there
	end()     // what is there is read, and no more, as the process has ended
}

// output is one stream of a process and its reader.
type output struct {
	from *os.File
	to   io.Writer

	mu     sync.Mutex // held from a read to the end of its write
	failed bool
	over   bool // it has been read to its end
}

// buffers are as large as a pipe is: whoever writes into it is held up while it is
// full.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// lastBytes bounds what is read after the end of a process: more than a pipe
// can hold (pipe(7), the largest that an ordinary user can ask for), so that
// all that the process wrote is among it, whoever else writes on.
const lastBytes = 1 << 20

func (o *output) readNow() {
	if raw, err := o.from.SyscallConn(); err == nil {
		o.drain(raw)
	}
}

func (o *output) end() { o.from.SetReadDeadline(time.Now()) }

func (o *output) read() {
	defer o.close()
	raw, err := o.from.SyscallConn()
	if err != nil {
		return
	}
	for err == nil {
		over := false
		err = raw.Read(func(fd uintptr) bool {
			n, err := o.readOnce(fd)
			over = n <= 0 && err != unix.EAGAIN // its end; a terminal says it by EIO
			return n > 0 || over
		})
		if over {
			o.mu.Lock()
			o.over = true
			o.mu.Unlock()
			return
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	o.drain(raw)
}

// drain reads what is there, without waiting for more.
func (o *output) drain(raw syscall.RawConn) {
	for left := lastBytes; left > 0; {
		n := 0
		if raw.Control(func(fd uintptr) { n, _ = o.readOnce(fd) }) != nil || n <= 0 {
			return
		}
		left -= n
	}
}

// close ends the reading; a writer that keeps something back is told.
func (o *output) close() {
	o.from.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	to := o.to
	if ends, ok := to.(*lineEnds); ok {
		ends.flush()
		to = ends.to
	}
	if o.over {
		endStream(to)
	}
}

// readOnce reads what is there, and writes it. A stream has a buffer only while
// there is something: most of many are silent.
func (o *output) readOnce(fd uintptr) (n int, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if n, err = unix.Read(int(fd), *buf); err != unix.EINTR {
			break
		}
	}
	o.write((*buf)[:max(n, 0)])
	return n, err
}

func (o *output) write(p []byte) {
	if len(p) > 0 && !o.failed {
		_, err := o.to.Write(p)
		o.failed = err != nil
	}
}
