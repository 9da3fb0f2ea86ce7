//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawners is how many threads fork. The forking thread sleeps until its child
// has called exec, so that two are faster than one; more are not.
const spawners = 2

// killedWithin bounds the wait for killed processes to be gone, and stoppedWithin
// that for stopped ones to have stopped.
const (
	killedWithin  = 5 * time.Second
	stoppedWithin = 2 * time.Second
)

// local forks children of this process.
type local struct {
	kin     kin // how the members of a tree are known
	work    chan func()
	threads sync.WaitGroup
	living  sync.WaitGroup // the children
	reaping sync.Mutex     // of orphans, by one at a time
	leaders sync.Map       // the numbers of those that have not been reaped
	census  census
}

func newLocal(k kin) *local {
	l := &local{kin: k, work: make(chan func(), 64)}
	for range spawners {
		l.threads.Go(l.spawn)
	}
	return l
}

// spawn forks on one thread for as long as the forker lives: the parent-death
// signal comes at the end of the thread that forked (prctl(2),
// PR_SET_PDEATHSIG), and a thread that a goroutine has locked ends with it.
// When the forker closes there are no children left.
func (l *local) spawn() {
	goruntime.LockOSThread()
	defer l.kin.releaseThread()
	l.kin.lockThread()
	for fork := range l.work {
		fork()
	}
}

func (l *local) close() error {
	l.living.Wait()
	close(l.work)
	l.threads.Wait()
	l.census.looking.Wait()
	return l.kin.close()
}

func (l *local) fork(im image, ended func(Exit)) (t tree, err error) {
	forked := make(chan struct{})
	l.begin(im, func(c *child, failure error) {
		t, err = c, failure
		close(forked)
	}, ended)
	<-forked
	if err != nil {
		return nil, err
	}
	return t, nil
}

// begin forks on a thread that may, and calls forked there before anything else
// is made of the child. When it has ended, ended is called.
func (l *local) begin(im image, forked func(*child, error), ended func(Exit)) {
	attr := &syscall.ProcAttr{Dir: im.dir, Env: im.env, Sys: &syscall.SysProcAttr{Setpgid: true}}
	for _, f := range im.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if im.tty { // a session leader leads its group
		attr.Sys.Setpgid = false
		attr.Sys.Setsid, attr.Sys.Setctty, attr.Sys.Ctty = true, true, 0
	}
	l.work <- func() {
		c := &child{local: l, done: make(chan struct{})}
		var err error
		c.id, err = l.kin.fork(&c.mark, im, attr)
		goruntime.KeepAlive(im.files)
		if err != nil {
			forked(nil, err)
			return
		}
		l.leaders.Store(c.id, nil)
		forked(c, nil)
		l.living.Go(func() { ended(c.watch()) })
	}
}

// child is a tree whose leader is a child of this process.
type child struct {
	local *local
	id    int
	mark  mark
	done  chan struct{}

	faults   sync.Mutex // one at a time
	limiting sync.Mutex // keeps the groups that are limited from being removed
	paused   bool
	stopped  map[int]bool // what had been stopped before it was paused

	mu     sync.Mutex
	reaped bool
	killed bool // the whole tree, on request
}

func (c *child) pid() int { return c.id }

// watch sees the child to its end.
func (c *child) watch() (e Exit) {
	awaitExit(c.id, &c.mark)
	// Until it is reaped its number is not given to another, so that what is
	// left of its tree can be found without a doubt about whose it is.
	var usage syscall.Rusage
	e.Left = c.sweep(&usage)
	c.mu.Lock()
	if c.killed {
		e.Left = nil // it has not outlived its leader
	}
	var status syscall.WaitStatus
	var own syscall.Rusage
	var err error
	c.local.leaders.Delete(c.id) // before its number can be another's
	for {
		if _, err = syscall.Wait4(c.id, &status, 0, &own); err != unix.EINTR {
			break
		}
	}
	c.reaped = true
	c.mu.Unlock()
	e.Code = -1
	switch {
	case err != nil:
		e.Note = "how it ended is not known: " + err.Error()
	case status.Signaled():
		e.Signal = SignalName(status.Signal())
	default:
		e.Code = status.ExitStatus()
	}
	addUsage(&usage, &own)
	e.User, e.System = time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
	e.MaxRSS = int64(usage.Maxrss) * maxRSSUnit
	c.limiting.Lock()
	defer c.limiting.Unlock()
	c.local.kin.conclude(&c.mark, &e)
	close(c.done)
	return e
}

func addUsage(to, more *syscall.Rusage) {
	to.Utime = syscall.NsecToTimeval(to.Utime.Nano() + more.Utime.Nano())
	to.Stime = syscall.NsecToTimeval(to.Stime.Nano() + more.Stime.Nano())
	to.Maxrss = max(to.Maxrss, more.Maxrss)
}

func (c *child) signal(s syscall.Signal, to Reach) error {
	if to == Tree {
		c.faults.Lock()
		defer c.faults.Unlock()
		if s == syscall.SIGKILL {
			return c.kill()
		}
		return c.signalTree(s)
	}
	return c.held(func() error { return unix.Kill(c.id, s) }, "signal process")
}

// ended tells whether the child has been reaped.
func (c *child) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reaped
}

// held does something to the child's own number, as long as that is its own.
func (c *child) held(do func() error, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	if err := do(); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot %s %d: %w", what, c.id, err)
	}
	return nil
}

func (c *child) pause() error {
	c.faults.Lock()
	defer c.faults.Unlock()
	return c.stopTree()
}

func (c *child) resume() error {
	c.faults.Lock()
	defer c.faults.Unlock()
	return c.continueTree()
}

// kill kills the tree and waits until nothing of it runs.
func (c *child) kill() error {
	c.mu.Lock()
	c.killed = true
	c.mu.Unlock()
	if err := c.signalTree(syscall.SIGKILL); err != nil {
		return err
	}
	timer := time.NewTimer(2 * killedWithin)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("process %d was killed and has not ended within %s", c.id, 2*killedWithin)
	}
}
