package process

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// afterExit calls f in a goroutine of its own when a child has ended, and leaves it
// unreaped.
func (l *local) afterExit(c *child, f func()) {
	pidfd := c.mark.pidfd
	c.mark.pidfd = -1
	if pidfd >= 0 && l.exits != nil {
		if l.exits.awaitExit(pidfd, f) == nil {
			return
		}
	}
	if pidfd >= 0 {
		unix.Close(pidfd)
	}
	go func() { // which takes a thread
		var info unix.Siginfo
		for unix.Waitid(unix.P_PID, c.id, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		f()
	}()
}

// hasExited reports whether a child that has not been reaped has ended, or is on
// its way out: none of its threads goes on with its program.
func (k trees) hasExited(pid int) bool {
	var info unix.Siginfo
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	}
	return err == nil && info.Signo != 0 || err == unix.ECHILD || k.proc.isEnding(pid)
}

// signalTree sends a signal to the leader first, which so cannot replace what
// else is hit.
func (c *child) signalTree(sig syscall.Signal) (hit []int, err error) {
	fresh := c.births()
	members, unseen := c.members() // before it: a leader that has ended does not know its own any more
	if unseen != nil && sig != unix.SIGKILL {
		return nil, unseen
	}
	err = c.held(func() error {
		if sig == unix.SIGKILL {
			c.killed = true
			c.mark.killed = map[int]stat{}
			for _, s := range members {
				c.mark.killed[s.pid] = s
			}
		}
		return unix.Kill(c.id, sig)
	}, "signal process")
	if err != nil {
		return nil, err
	}
	hit = []int{c.id}
	fresh.hit[c.id] = "" // nobody has its number until it is reaped
	errs := []error{unseen}
	for _, s := range members {
		fresh.hit.add(s)
		switch err := s.send(sig); {
		case err == nil, sig == unix.SIGKILL && errors.Is(err, unix.ESRCH): // the end of the leader may end others
			hit = append(hit, s.pid)
		case !errors.Is(err, unix.ESRCH):
			errs = append(errs, fmt.Errorf("cannot signal process %d: %w", s.pid, err))
		}
	}
	if sig != unix.SIGKILL && sig != unix.SIGCONT { // the end of the leader sees to it; who is new goes on
		born, err := c.signalBorn(sig, fresh)
		hit, errs = append(hit, born...), append(errs, err)
	}
	return hit, errors.Join(errs...)
}

// sureAfter is how often in a row nothing is to be found before there is
// nothing: a list of processes is not of one moment, and one that forks and
// exits while it is made hides its child.
const sureAfter = 2

// sweep kills what of the tree has outlived its leader, and waits until it is
// gone. It returns who that was, left by their numbers as the machine shows them,
// and adds what they have used as far as it is this process that reaps them. An
// error is why somebody may have been missed.
func (c *child) sweep(usage *syscall.Rusage) (swept, left []int, err error) {
	l := c.local
	c.mu.Lock()
	seen := maps.Clone(c.mark.killed)
	c.mu.Unlock()
	fresh := c.births()
	switch {
	case anyRuns(seen):
	case l.trees.rung == Cgroup && !c.mark.group.populated():
		return nil, nil, nil
	case l.trees.adopts():
		l.reaping.Lock()
		defer l.reaping.Unlock()
		// The top of whatever outlives the leader was given to this process.
		fresh = c.births()
		if !c.hasOrphans(fresh) {
			return nil, nil, nil
		}
	default:
		looks := 0
		for looks < sureAfter {
			all, err := l.look()
			var members []stat
			if err == nil {
				members, err = c.membersOf(all)
			}
			if err != nil || len(members) > 0 {
				break
			}
			if _, ours := fresh.chase(unix.SIGKILL); ours {
				break
			}
			looks++
		}
		if looks == sureAfter {
			return nil, nil, nil
		}
	}
	if seen == nil {
		seen = map[int]stat{}
	}
	for w := (waiter{}); ; {
		members, unseen := c.members()
		find := func(s stat) {
			if _, again := seen[s.pid]; !again {
				seen[s.pid] = s
				swept = append(swept, s.pid)
				left = append(left, l.trees.numberOutside(s.pid))
			}
		}
		for _, s := range members {
			find(s)
			s.send(syscall.SIGKILL)
		}
		dying := anyRuns(seen) || unseen != nil
		if l.trees.adopts() {
			adopted, _ := l.trees.adopted() // what is reaped by nobody else is by the keeper
			for _, pid := range adopted {
				if _, ours := seen[pid]; ours {
					dying = !reap(pid, usage) || dying
				}
			}
		}
		sure, born := fresh.sure(len(members) == 0 && !dying, unix.SIGKILL)
		for _, s := range born {
			find(s)
		}
		if sure {
			return swept, left, unseen
		}
		if !w.wait(killedWithin) && !fresh.quietens() {
			if fresh.ours || unseen == nil && len(members) == 0 && !dying {
				unseen = errors.Join(unseen, fresh.err())
			}
			return swept, left, unseen
		}
	}
}

// hasOrphans reports whether something may have been given to this process that is
// the tree's. A list of what was is not of one moment if somebody is born meanwhile.
func (c *child) hasOrphans(fresh *births) bool {
	for range sureAfter {
		before := fresh.last
		if adopted, err := c.local.trees.adopted(); err != nil || len(adopted) > 0 {
			return true
		}
		if _, ours := fresh.chase(unix.SIGKILL); ours {
			return true
		}
		if fresh.last == before {
			return false
		}
	}
	return false
}

// reap reaps a child if it has ended.
func reap(pid int, usage *syscall.Rusage) bool {
	var own syscall.Rusage
	n, err := syscall.Wait4(pid, nil, syscall.WNOHANG, &own)
	if n == pid {
		addUsage(usage, &own)
	}
	return n == pid || err != nil
}

// stopTree stops the tree, and returns when all of it has stopped: what was
// started meanwhile too.
func (c *child) stopTree() (reached int, err error) {
	if !c.alive() {
		return 0, os.ErrProcessDone
	}
	if c.paused {
		return 0, nil
	}
	stopped, sent := map[int]bool{}, signalled{}
	fresh := c.births()
	for w := (waiter{}); ; {
		members, err := c.members()
		if err != nil {
			return reached, err
		}
		leader, ok, err := c.local.trees.proc.stat(c.id)
		if err != nil {
			return reached, err
		}
		if !ok || !c.alive() {
			return 0, os.ErrProcessDone
		}
		members = append(members, leader)
		var running []int
		for _, s := range members {
			if !sent.has(s) {
				sent.add(s)
				if s.isIn("T") {
					stopped[s.pid] = true
					continue
				}
				running = append(running, s.pid)
				if err := s.send(unix.SIGSTOP); err == nil {
					reached++
				} else if !errors.Is(err, unix.ESRCH) {
					return reached, fmt.Errorf("cannot stop process %d: %w", s.pid, err)
				}
			} else if !s.stopped() {
				running = append(running, s.pid)
			}
		}
		c.paused, c.stopped = true, stopped
		sure, born := fresh.sure(len(running) == 0, unix.SIGSTOP)
		for _, s := range born {
			if !sent.has(s) { // or it had just been sent it, and had not stopped
				sent.add(s)
				reached++
			}
		}
		if sure {
			return reached, nil
		}
		if !w.wait(stoppedWithin) && !fresh.quietens() {
			if fresh.ours || len(running) == 0 {
				return reached, fresh.err()
			}
			return reached, fmt.Errorf("processes %v did not stop within %s", running, stoppedWithin)
		}
	}
}

func (c *child) continueTree() error {
	if !c.paused {
		return nil
	}
	c.paused = false
	members, err := c.members()
	errs := []error{err}
	for _, s := range members {
		if !c.stopped[s.pid] {
			if err := s.send(unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("cannot resume process %d: %w", s.pid, err))
			}
		}
	}
	if !c.stopped[c.id] {
		errs = append(errs, c.held(func() error { return unix.Kill(c.id, unix.SIGCONT) }, "resume process"))
	}
	return errors.Join(errs...)
}
