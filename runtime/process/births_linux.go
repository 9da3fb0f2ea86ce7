package process

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// births sees whether processes are born while a tree is looked at: a list of
// processes is not of one moment, and one that forks and exits while it is made
// hides its child.
type births struct {
	of    *child
	last  int       // the number that was given last; 0 where that is not known
	hit   signalled // those that were signalled
	ours  bool      // the last look showed that the tree forks
	quiet int
}

// signalled are processes by their numbers, with when they began: numbers are given again,
// within seconds where there are few of them.
type signalled map[int]string

func (p signalled) add(s stat)          { p[s.pid] = s.began }
func (p signalled) has(s stat) bool     { return p.number(s.pid) && p[s.pid] == s.began }
func (p signalled) number(pid int) bool { _, has := p[pid]; return has }

// sureQuiet is how much quiet makes sure. A look that shows nothing, and during which
// nobody was born, is worth quietLook: two make sure, for one that is just being
// born shows a moment later. On a machine on which others fork all the time there are
// no such looks. One during which nobody of the tree was seen to be born is worth 1.
const (
	sureQuiet = 6
	quietLook = 3
)

// chases bounds how often in a look the newest numbers are looked at, of a tree that
// forks on. It is no time: on a busy machine time passes while nothing is looked at.
const chases = 32

func (c *child) births() *births {
	return &births{of: c, last: c.local.trees.proc.lastNumber(), hit: signalled{}}
}

// sure is told after each look whether it has shown all of the tree as it shall be,
// and reports whether that can be believed. What of the tree was born meanwhile is
// sent the signal, and returned.
func (b *births) sure(asItShallBe bool, sig syscall.Signal) (sure bool, born []stat) {
	before := b.last
	born, b.ours = b.chase(sig)
	b.quiet = quietAfter(b.quiet, asItShallBe, b.ours, b.last != before)
	return b.quiet >= sureQuiet, born
}

// quietAfter is how much quiet there is after one more look.
func quietAfter(quiet int, asItShallBe, ours, others bool) int {
	switch {
	case !asItShallBe || ours:
		return 0
	case others:
		return quiet + 1
	}
	return quiet + quietLook
}

// quietens reports whether the last looks have shown all of the tree as it shall be. A
// few more make sure, or show that it is not: they are taken however late it is, for
// how long a look takes the machine decides.
func (b *births) quietens() bool { return b.quiet > 0 }

func (b *births) err() error {
	return fmt.Errorf("the processes that process %d has started fork on, faster than they can be signalled", b.of.id)
}

// chase signals those of the tree that have been given numbers since: the newest
// first, for one may live for some microseconds only.
func (b *births) chase(sig syscall.Signal) (born []stat, ours bool) {
	const again, most = 4, 64 // a number is given before the process can be seen
	proc := b.of.local.trees.proc
	for n := 0; n < chases && b.last > 0; n++ {
		now := proc.lastNumber()
		if now == b.last || now == 0 {
			return born, ours
		}
		for pid := now; pid > max(b.last-again, now-most, 1); pid-- {
			if b.of.local.leads(pid) {
				continue
			}
			s, is, sent := b.strike(pid, sig)
			ours = ours || is
			if sent {
				b.hit.add(s)
				born = append(born, s)
			}
		}
		b.last = now
	}
	return born, ours
}

// passesOn reports whether a process that has had the signal may start others which
// have not.
func passesOn(sig syscall.Signal) bool { return sig != unix.SIGKILL && sig != unix.SIGSTOP }

// strike signals a process if it is one of the tree that runs and is not stopped, and
// that none has started which has had the signal. It reports whether it is such a one,
// and whether the signal was sent, before it had ended.
func (b *births) strike(pid int, sig syscall.Signal) (s stat, ours, sent bool) {
	c := b.of
	pidfd, err := unix.PidfdOpen(pid, 0) // of a thread there is none
	if err != nil {
		return s, false, false
	}
	defer unix.Close(pidfd)
	s, ok, err := c.local.trees.proc.stat(pid)
	if err != nil || !ok || !s.runs() || s.isIn("T") || b.hit.has(s) || b.hit.number(s.parent) && passesOn(sig) {
		return s, false, false
	}
	if ours = s.group == c.id || s.session == c.id || s.parent == c.id || b.hit.number(s.parent); !ours {
		ours, _ = c.mark.on(s)
	}
	return s, ours, ours && unix.PidfdSendSignal(pidfd, sig, nil, 0) == nil
}

// signalBorn signals what of a tree was born while it was signalled, by a process
// that was not: until nothing such is to be seen. What was sent SIGSTOP may be in a
// fork, and stops when its child is there: it is waited for.
func (c *child) signalBorn(sig syscall.Signal, fresh *births) (hit []int, err error) {
	missed, running := 0, sig == unix.SIGSTOP
	for w, first := (waiter{}), true; ; first = false {
		sure, born := fresh.sure(missed == 0 && !running, sig)
		for _, s := range born {
			hit = append(hit, s.pid)
		}
		if sure || first && fresh.quiet == quietLook || !c.alive() { // nobody was born at all
			return hit, nil
		}
		if !w.wait(stoppedWithin) && !fresh.quietens() {
			if missed == 0 && !fresh.ours { // what does not stop has been signalled
				return hit, nil
			}
			return hit, fresh.err()
		}
		members, err := c.members()
		if err != nil {
			return hit, err
		}
		missed, running = 0, false
		if leader, ok, err := c.local.trees.proc.stat(c.id); err == nil && ok {
			running = sig == unix.SIGSTOP && !leader.stopped()
		}
		for _, s := range members {
			switch {
			case fresh.hit.has(s):
				running = running || sig == unix.SIGSTOP && !s.stopped()
			case fresh.hit.number(s.parent) && passesOn(sig):
			default:
				missed++
				if s.send(sig) == nil {
					fresh.hit.add(s)
					hit = append(hit, s.pid)
				}
			}
		}
	}
}

// lastNumber is the number that a process or thread of this PID namespace was given
// last; 0 where that is not known.
func (p *procfs) lastNumber() int {
	text, err := readAt(p.dir, "loadavg")
	if err != nil {
		return 0
	}
	f := bytes.Fields(text)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(string(f[len(f)-1]))
	return n
}
