package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the name of every control group that a run makes; the
// run's id follows.
const groupPrefix = "dagon-star-"

// groups are the control groups of one run: one group for the run in every
// hierarchy that is used, made when it is needed, with one in it for each tree.
type groups struct {
	run string
	all []hierarchy

	mu   sync.Mutex
	made map[place]*os.File // the run's own, locked
	next int
}

func newGroups(run string) *groups {
	return &groups{run: run, all: hierarchies(), made: map[place]*os.File{}}
}

// find finds where groups with a controller can be made: for "", one of version
// 2, if there is a choice one with controllers for the groups in it.
func (g *groups) find(controller string) (parent place, version int, err error) {
	var reasons []string
	for _, h := range g.all {
		switch {
		case h.version == 1 && slices.Contains(h.controllers, controller):
			if h.own().writable() {
				return h.own(), 1, nil
			}
			reasons = append(reasons, fmt.Sprintf("the control group %s cannot be written to", h.own()))
		case h.version == 2:
			best, most := place{}, -1
			for _, p := range h.above() {
				if !p.writable() {
					continue
				}
				has := strings.Fields(p.read("cgroup.subtree_control"))
				count := 0
				for _, c := range []string{"cpu", "memory"} {
					if slices.Contains(has, c) {
						count++
					}
				}
				if count > most {
					best, most = p, count
				}
			}
			if best.isNone() {
				reasons = append(reasons, fmt.Sprintf("neither the control group %s nor one above it can be written to", h.own()))
				continue
			}
			if controller == "" || slices.Contains(strings.Fields(best.read("cgroup.subtree_control")), controller) {
				return best, 2, nil
			}
			reasons = append(reasons, fmt.Sprintf("the control group %s gives no %s controller to those in it", best, controller))
		}
	}
	if len(reasons) == 0 {
		what := "control groups of version 2"
		if controller != "" {
			what = "control groups with a " + controller + " controller"
		}
		reasons = []string{"no " + what + " are mounted"}
	}
	return place{}, 0, errors.New(strings.Join(reasons, "; "))
}

// canGroup is why no groups with a controller can be made here; nil where they can.
func canGroup(controller string) error {
	g := newGroups("")
	defer closeAll(g.all)
	_, _, err := g.find(controller)
	return err
}

// dir is the run's own group under a parent. It is held locked: whoever finds
// it unlocked knows that the run is dead.
func (g *groups) dir(parent place, version int) (place, error) {
	p := parent.in(groupPrefix + g.run)
	if g.made[p] != nil {
		return p, nil
	}
	var f *os.File
	for w := (waiter{}); f == nil; {
		err := p.make()
		if err != nil {
			return p, fmt.Errorf("cannot make a control group: %w", err)
		}
		if f, err = lockGroup(p); err != nil && !w.wait(stoppedWithin) { // a sweep may hold it for a moment
			return p, fmt.Errorf("cannot lock the control group %s: %w", p, err)
		}
	}
	if err := p.prove(); err != nil {
		p.rmdir()
		f.Close()
		return p, fmt.Errorf("cannot make a control group: %w", err)
	}
	g.made[p] = f
	if version == 2 {
		for _, c := range []string{"+cpu", "+memory"} {
			p.write("cgroup.subtree_control", c) // where it is not to be had, find has said so
		}
	}
	return p, nil
}

// lockGroup locks a group, if it is there and nobody else does.
func lockGroup(p place) (*os.File, error) {
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && !p.has(".") {
		err = fs.ErrNotExist // it was swept before it was locked
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// make makes a group of version 2 for a tree.
func (g *groups) make() (*group, error) {
	n := &group{of: g, dirs: map[string]place{}}
	return n, n.in("")
}

func (g *groups) close() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for p, f := range g.made {
		errs = append(errs, removeGroup(p), f.Close())
	}
	clear(g.made)
	closeAll(g.all)
	g.all = nil
	return errors.Join(errs...)
}

// group is the control group of a tree: one in each hierarchy that is used.
type group struct {
	of   *groups
	name string
	dirs map[string]place // by controller, "" for that which the tree was born in
}

// in makes the group where a controller is.
func (n *group) in(controller string) error {
	if _, made := n.dirs[controller]; made {
		return nil
	}
	g := n.of
	g.mu.Lock()
	defer g.mu.Unlock()
	parent, version, err := g.find(controller)
	if err != nil {
		return err
	}
	dir, err := g.dir(parent, version)
	if err != nil {
		return err
	}
	if n.name == "" {
		g.next++
		n.name = strconv.Itoa(g.next)
	}
	p := dir.in(n.name)
	if err := p.make(); err != nil {
		return fmt.Errorf("cannot make a control group: %w", err)
	}
	n.dirs[controller] = p
	return nil
}

func (n *group) open() (*os.File, error) { return n.dirs[""].open() }

// holds reports whether a process is in the group that the tree was born in, or in
// one in it.
func (n *group) holds(s stat) (bool, error) {
	if n.dirs[""].isNone() {
		return false, nil
	}
	text, err := s.of.read(s.pid, "cgroup")
	own := "/" + groupPrefix + n.of.run + "/" + n.name
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if _, inside, found := strings.Cut(path, own); ok && found && (inside == "" || inside[0] == '/') {
			return true, nil
		}
	}
	return false, err
}

// populated reports whether a process of the group runs, as far as can be known.
func (n *group) populated() bool {
	return n.dirs[""].isNone() || !strings.Contains(n.dirs[""].read("cgroup.events"), "populated 0")
}

// outOfMemory is how many of its processes the kernel killed as the group was
// at its limit.
func (n *group) outOfMemory() int {
	p := n.dirs["memory"]
	if p.isNone() {
		return 0
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		for line := range strings.Lines(p.read(file)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				killed, _ := strconv.Atoi(strings.TrimSpace(count))
				return killed
			}
		}
	}
	return 0
}

func (n *group) remove() error {
	var errs []error
	for _, p := range n.dirs {
		errs = append(errs, removeGroup(p))
	}
	return errors.Join(errs...)
}
