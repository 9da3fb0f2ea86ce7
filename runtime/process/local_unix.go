//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
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
	trees   trees   // how the members of a tree are known
	exits   *poller // tells of the ends of children; nil where it cannot be had
	work    chan func()
	threads sync.WaitGroup
	living  sync.WaitGroup // the children
	reaping sync.Mutex     // of orphans, by one at a time
	leaders sync.Map       // the *child of those that have not been reaped, by their numbers
	census  census
	meter   meter
}

func newLocal(t trees) *local {
	l := &local{trees: t, work: make(chan func(), 64)}
	l.exits, _ = newPoller(1) // without it each child takes a thread
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
	defer l.trees.releaseThread()
	l.trees.lockThread()
	for fork := range l.work {
		fork()
	}
}

func (l *local) close() error {
	l.living.Wait()
	close(l.work)
	l.threads.Wait()
	l.census.looking.Wait()
	if l.exits != nil {
		l.exits.close()
	}
	return l.trees.close()
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
	if u := im.user; u != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	l.work <- func() {
		c := &child{local: l, done: make(chan struct{})}
		var err error
		c.id, err = l.trees.fork(&c.mark, im, attr)
		goruntime.KeepAlive(im.files)
		if err != nil {
			forked(nil, err)
			return
		}
		l.leaders.Store(c.id, c)
		forked(c, nil)
		l.living.Add(1)
		l.afterExit(c, func() {
			defer l.living.Done()
			ended(c.reap())
		})
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
	killed bool  // the whole tree, on request, while it had not ended
	byKill bool  // SIGKILL ended it
	swept  []int // what of the tree was killed after it
	loose  error // why something of the tree may run on
}

func (c *child) pid() int { return c.id }

// reap takes leave of a child that has ended.
func (c *child) reap() (e Exit) {
	// Until it is reaped its number is not given to another, so that what is
	// left of its tree can be found without a doubt about whose it is.
	var usage syscall.Rusage
	swept, left, loose := c.sweep(&usage)
	if loose != nil {
		e.note(fmt.Errorf("what it left cannot be known: %w", loose))
	}
	c.mu.Lock()
	var status syscall.WaitStatus
	var err error
	var own syscall.Rusage
	c.local.leaders.Delete(c.id) // before its number can be another's
	for {
		if _, err = syscall.Wait4(c.id, &status, 0, &own); err != unix.EINTR {
			break
		}
	}
	c.reaped = true
	c.byKill = err == nil && status.Signaled() && status.Signal() == syscall.SIGKILL
	c.swept, c.loose = swept, loose
	if !c.killed || !c.byKill { // or it has not outlived its leader
		e.Left = left
	}
	c.mu.Unlock()
	e.Code = -1
	switch {
	case err != nil:
		e.note(fmt.Errorf("how it ended is not known: %w", err))
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
	c.local.trees.conclude(&c.mark, &e)
	close(c.done)
	return e
}

// note adds to what is known of an exit.
func (e *Exit) note(err error) {
	if e.Note != "" {
		e.Note += "; "
	}
	e.Note += err.Error()
}

func addUsage(to, more *syscall.Rusage) {
	to.Utime = syscall.NsecToTimeval(to.Utime.Nano() + more.Utime.Nano())
	to.Stime = syscall.NsecToTimeval(to.Stime.Nano() + more.Stime.Nano())
	to.Maxrss = max(to.Maxrss, more.Maxrss)
}

func (c *child) signal(s syscall.Signal, to Reach) (reached int, err error) {
	if to == Tree {
		c.faults.Lock()
		defer c.faults.Unlock()
	}
	hit, err := c.send(s, to)
	if s != syscall.SIGKILL || len(hit) == 0 && (to == Leader || !errors.Is(err, os.ErrProcessDone)) {
		return len(hit), err
	}
	return c.awaitKilled(hit, to, err)
}

// send signals the leader or the tree, and returns who was reached.
func (c *child) send(s syscall.Signal, to Reach) (hit []int, err error) {
	if to == Tree {
		return c.signalTree(s)
	}
	if err := c.held(func() error { return unix.Kill(c.id, s) }, "signal process"); err != nil {
		return nil, err
	}
	return []int{c.id}, nil
}

// awaitKilled waits until nothing of a tree runs whose leader has been killed, or
// had ended. The kernel says last whether it was the kill that ended it: who is
// already on its way out keeps its own exit status.
func (c *child) awaitKilled(hit []int, to Reach, err error) (reached int, _ error) {
	if _, _, late := receive(c.done, 2*killedWithin); late {
		return len(hit), errors.Join(err, fmt.Errorf("process %d was killed and has not ended within %s", c.id, 2*killedWithin))
	}
	for _, pid := range c.swept {
		if to == Tree && !slices.Contains(hit, pid) {
			hit = append(hit, pid)
		}
	}
	if err == nil && !c.byKill {
		hit = slices.DeleteFunc(hit, func(pid int) bool { return pid == c.id })
		err = os.ErrProcessDone
	}
	if to == Tree && c.loose != nil && (err == nil || errors.Is(err, os.ErrProcessDone)) {
		return len(hit), fmt.Errorf("process %d has ended, and what it has started may run on: %w", c.id, c.loose)
	}
	return len(hit), err
}

func (c *child) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.over()
}

// over reports whether the child has ended, by the kernel's word. The lock is
// held: nobody reaps it meanwhile.
func (c *child) over() bool { return c.reaped || c.local.trees.hasExited(c.id) }

// held does something to the child's own number, unless the child has ended.
func (c *child) held(do func() error, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over() {
		return os.ErrProcessDone
	}
	if err := do(); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot %s %d: %w", what, c.id, err)
	}
	return nil
}

func (c *child) pause() (reached int, err error) {
	c.faults.Lock()
	defer c.faults.Unlock()
	return c.stopTree()
}

func (c *child) resume() error {
	c.faults.Lock()
	defer c.faults.Unlock()
	return c.continueTree()
}
