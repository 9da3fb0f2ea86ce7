package process

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// answersWithin is how long a keeper may take to answer: one that takes longer
// is stuck, and is killed with all that it keeps.
const answersWithin = 30 * time.Second

func newForker(r Rung, o Options) (forker, error) {
	switch {
	case r == Bare:
		proc, err := openProc()
		if err != nil {
			return nil, err
		}
		return newLocal(trees{rung: Bare, proc: proc, groups: newGroups(o.Run)}), nil
	case !called.Load():
		return nil, errors.New("this program does not call process.Keeper at the top of its main")
	case r == Cgroup:
		if err := canGroup(""); err != nil {
			return nil, err
		}
	}
	return newKept(r, o.Run)
}

// kept forks by a keeper.
type kept struct {
	rung    Rung
	run     string
	conn    *net.UnixConn
	process *os.Process
	proc    *procfs
	release func() // lets go of the thread that forked the keeper
	reading sync.WaitGroup
	dead    chan struct{} // closed when the keeper and all that it kept are gone

	mu       sync.Mutex
	buffer   bytes.Buffer // what encoder has encoded
	encoder  *gob.Encoder
	last     uint64
	waiting  map[uint64]*question
	children map[uint64]*remote
	failure  error // why the keeper can be asked no more
}

// question is a request that waits for its reply.
type question struct {
	tag    string     // of the process that it forks
	ended  func(Exit) // "
	answer chan reply
}

func newKept(rung Rung, run string) (*kept, error) {
	attr := &syscall.SysProcAttr{Setsid: true} // no terminal of ours is its, or its children's
	if rung == Sealed {
		if err := namespaces(attr); err != nil {
			return nil, err
		}
	}
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	k, err := startKeeper(rung, run, attr)
	if err != nil {
		proc.close()
		return nil, err
	}
	k.proc = proc
	return k, nil
}

func startKeeper(rung Rung, run string, attr *syscall.SysProcAttr) (*kept, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "driver")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer null.Close()
	attached := []*os.File{null, null, os.Stderr, theirs}
	if self, err := unix.PidfdOpen(os.Getpid(), 0); err == nil { // what a keeper is known to be abandoned by
		file := os.NewFile(uintptr(self), "self")
		defer file.Close()
		attached = append(attached, file)
	}
	k := &kept{rung: rung, run: run, conn: conn.(*net.UnixConn), dead: make(chan struct{}),
		waiting: map[uint64]*question{}, children: map[uint64]*remote{}}
	k.encoder = gob.NewEncoder(&k.buffer)
	// The keeper is sealed to the thread that forks it, which has to live as
	// long.
	forked, release := make(chan error), make(chan struct{})
	go func() {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		var err error
		k.process, err = os.StartProcess("/proc/self/exe", []string{keeperName, string(rung), run},
			&os.ProcAttr{Dir: "/", Files: attached, Sys: attr})
		forked <- err
		if err == nil {
			<-release
		}
	}()
	if err := <-forked; err != nil {
		conn.Close()
		if rung == Sealed {
			return nil, refused(err)
		}
		return nil, err
	}
	k.release = sync.OnceFunc(func() { close(release) })
	theirs.Close()
	settled := &question{answer: make(chan reply, 1)}
	k.waiting[0] = settled
	k.reading.Go(k.read)
	if _, err := k.await(settled); err != nil {
		k.kill()
		return nil, err
	}
	return k, nil
}

// read takes the keeper's replies until it is gone, and then ends what it kept.
func (k *kept) read() {
	decoder := gob.NewDecoder(k.conn)
	for {
		var r reply
		if decoder.Decode(&r) != nil {
			break
		}
		k.mu.Lock()
		child, waiting := k.children[r.ID], k.waiting[r.ID]
		if r.Exit != nil {
			delete(k.children, r.ID)
		} else {
			delete(k.waiting, r.ID)
			if r.Forked {
				r.child = &remote{keeper: k, id: r.ID, number: r.PID, tag: waiting.tag, ended: waiting.ended, done: make(chan struct{})}
				k.children[r.ID] = r.child
			}
		}
		k.mu.Unlock()
		switch {
		case r.Exit != nil && child != nil:
			child.end(*r.Exit)
		case r.Exit == nil && waiting != nil:
			waiting.answer <- r
		}
	}
	k.mu.Lock()
	if k.failure == nil {
		k.failure = errors.New("the keeper of the run's processes has ended")
	}
	children, waiting, why := k.children, k.waiting, k.failure
	k.children, k.waiting = map[uint64]*remote{}, map[uint64]*question{}
	k.mu.Unlock()
	k.process.Kill()
	k.process.Wait() // of a sealed one: until all that it kept is gone
	if k.rung != Sealed {
		var tags []string
		for _, c := range children {
			tags = append(tags, c.tag)
		}
		killTagged(tags)
		SweepGroups()
	}
	for _, c := range children {
		c.end(Exit{Code: -1, Signal: "KILL", Note: why.Error()})
	}
	for _, q := range waiting {
		close(q.answer)
	}
	k.release()
	close(k.dead)
}

// kill kills the keeper, and waits until all that it kept is gone.
func (k *kept) kill() {
	k.process.Kill()
	<-k.dead
	k.reading.Wait()
	k.conn.Close()
}

// giveUp ends a keeper that does not do what it is asked to. It is told to end,
// also where it has been stopped, which it does when it has killed all that it
// keeps. One that does not react is killed.
func (k *kept) giveUp() {
	k.fail(errors.New("the keeper of the run's processes did not end them in time, and was told to end itself"))
	k.process.Signal(unix.SIGCONT)
	k.conn.CloseWrite() // it has no driver any more
	if _, _, late := receive(k.dead, killedWithin); late {
		k.mu.Lock()
		k.failure = errors.New("the keeper of the run's processes did not end them in time, and was killed")
		k.mu.Unlock()
		k.killBelow()
	}
	k.kill()
}

// fail sees to it that the keeper is asked nothing more, for a reason.
func (k *kept) fail(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil {
		k.failure = why
	}
}

// killBelow kills what descends from a keeper that does not do it itself, and is
// dead in a moment: then it could not be told from what is another's.
func (k *kept) killBelow() {
	for w := (waiter{}); k.rung != Sealed; { // where the kernel does it
		all, err := k.proc.processes(nil)
		keeps := slices.ContainsFunc(all, func(s stat) bool { return s.pid == k.process.Pid && s.parent == os.Getpid() && s.runs() })
		left := below(all, k.process.Pid)
		if err == nil && (!keeps || len(left) == 0) {
			return
		}
		for _, s := range left {
			s.send(unix.SIGKILL)
		}
		if !w.wait(killedWithin) {
			return
		}
	}
}

// ask sends a request and waits for its reply. What it forks is told to ended.
func (k *kept) ask(r request, ended func(Exit), attached ...*os.File) (reply, error) {
	q, err := k.send(r, ended, attached...)
	if err != nil {
		return reply{}, err
	}
	return k.await(q)
}

// send sends a request, for ask.
func (k *kept) send(r request, ended func(Exit), attached ...*os.File) (*question, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return nil, k.failure
	}
	k.last++
	r.ID = k.last
	q := &question{ended: ended, answer: make(chan reply, 1)}
	if r.Image != nil {
		q.tag = r.Image.Tag
	}
	k.waiting[r.ID] = q
	k.buffer.Reset()
	err := k.encoder.Encode(r)
	if err == nil {
		err = k.write(k.buffer.Bytes(), attached)
	}
	if err != nil {
		delete(k.waiting, r.ID)
		return nil, fmt.Errorf("the keeper of the run's processes cannot be asked: %w", err)
	}
	return q, nil
}

// usage waits for the keeper for as long as ctx lets it. That a keeper is slow to tell
// is no reason to end it: nothing depends on it.
func (k *kept) usage(ctx context.Context) (map[tree]Usage, error) {
	q, err := k.send(request{Op: opUsage}, nil)
	if err != nil {
		return nil, err
	}
	select {
	case r, ok := <-q.answer:
		switch {
		case !ok:
			return nil, k.failed()
		case r.Error != nil:
			return nil, r.Error
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		used := map[tree]Usage{}
		for id, u := range r.Used {
			if c := k.children[id]; c != nil {
				used[c] = u
			}
		}
		return used, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (k *kept) await(q *question) (reply, error) {
	r, ok, late := receive(q.answer, answersWithin)
	if late {
		k.mu.Lock()
		k.failure = fmt.Errorf("the keeper of the run's processes did not answer within %s, and was killed", answersWithin)
		k.mu.Unlock()
		k.killBelow()
		k.process.Kill()
		<-k.dead
		r, ok = <-q.answer // or what it has forked after all would be lost
	}
	if !ok {
		return reply{}, k.failed()
	}
	if r.Error != nil {
		return r, r.Error
	}
	return r, nil
}

func (k *kept) failed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

func (k *kept) write(p []byte, attached []*os.File) error {
	var rights []byte
	if len(attached) > 0 {
		fds := make([]int, len(attached))
		for i, f := range attached {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := k.conn.WriteMsgUnix(p, rights, nil)
	goruntime.KeepAlive(attached)
	if err == nil && n < len(p) {
		_, err = k.conn.Write(p[n:])
	}
	return err
}

func (k *kept) fork(im image, ended func(Exit)) (tree, error) {
	r, err := k.ask(request{Op: opFork, Image: &wireImage{Path: im.path, Argv: im.argv, Env: im.env, Dir: im.dir,
		Tag: im.tag, TTY: im.tty, User: im.user}}, ended, im.files...)
	if err != nil {
		return nil, err
	}
	return r.child, nil
}

// close ends the keeper; there are no processes of the driver's any more.
func (k *kept) close() error {
	_, err := k.ask(request{Op: opClose}, nil)
	k.kill()
	return errors.Join(err, k.proc.close())
}
