package process

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"strings"
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

// namespaces says how a keeper is sealed, or why it cannot be.
func namespaces(attr *syscall.SysProcAttr) error {
	attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	attr.Pdeathsig = syscall.SIGKILL
	if os.Geteuid() == 0 {
		return nil // in a user namespace it would have fewer rights
	}
	if status, _ := os.ReadFile("/proc/self/status"); ambient(string(status)) {
		return errors.New("this process has ambient capabilities, which its nodes would lose in a user namespace")
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_KILL, unix.CAP_SYS_NICE}
	return nil
}

func ambient(status string) bool {
	for line := range strings.Lines(status) {
		if set, ok := strings.CutPrefix(line, "CapAmb:"); ok {
			return strings.Trim(strings.TrimSpace(set), "0") != ""
		}
	}
	return false
}

// refused words why a namespace was refused.
func refused(err error) error {
	root := os.Geteuid() == 0
	switchedOff := func(sysctl string) bool {
		text, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
		return strings.TrimSpace(string(text)) == "0"
	}
	for _, off := range []struct {
		what, sysctl string
		needed       bool
	}{
		{"user namespaces are", "kernel.unprivileged_userns_clone", !root},
		{"user namespaces are", "user.max_user_namespaces", !root},
		{"PID namespaces are", "user.max_pid_namespaces", true},
		{"mount namespaces are", "user.max_mnt_namespaces", true},
	} {
		if off.needed && switchedOff(off.sysctl) {
			return fmt.Errorf("%s switched off (sysctl %s is 0)", off.what, off.sysctl)
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return errors.New("the kernel refuses more namespaces (sysctls user.max_*_namespaces, of this user namespace or of one around it)")
	case !errors.Is(err, unix.EPERM):
		return fmt.Errorf("cannot start a keeper: %w", err)
	case root:
		return errors.New("the kernel refuses a PID namespace: CAP_SYS_ADMIN is needed, which containers mostly lack")
	}
	return fmt.Errorf("the kernel refuses a user namespace%s, as it does in most containers", appArmor())
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
			&os.ProcAttr{Dir: "/", Files: []*os.File{null, null, os.Stderr, theirs}, Sys: attr})
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

// giveUp kills a keeper that does not do what it is asked to: it may have been
// stopped, and only SIGKILL ends such a one.
func (k *kept) giveUp() {
	k.mu.Lock()
	if k.failure == nil {
		k.failure = errors.New("the keeper of the run's processes did not end them in time, and was killed")
	}
	k.mu.Unlock()
	k.kill()
}

// ask sends a request and waits for its reply. What it forks is told to ended.
func (k *kept) ask(r request, ended func(Exit), attached ...*os.File) (reply, error) {
	k.mu.Lock()
	if k.failure != nil {
		k.mu.Unlock()
		return reply{}, k.failure
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
		k.mu.Unlock()
		return reply{}, fmt.Errorf("the keeper of the run's processes cannot be asked: %w", err)
	}
	k.mu.Unlock()
	return k.await(q)
}

func (k *kept) await(q *question) (reply, error) {
	timer := time.NewTimer(answersWithin)
	defer timer.Stop()
	var r reply
	var ok bool
	select {
	case r, ok = <-q.answer:
	case <-timer.C:
		k.mu.Lock()
		k.failure = fmt.Errorf("the keeper of the run's processes did not answer within %s, and was killed", answersWithin)
		k.mu.Unlock()
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
		Tag: im.tag, TTY: im.tty}}, ended, im.files...)
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

// remote is a tree whose leader is a keeper's child.
type remote struct {
	keeper *kept
	id     uint64
	number int
	tag    string
	ended  func(Exit)
	done   chan struct{}
}

func (c *remote) pid() int { return c.number }

func (c *remote) end(e Exit) {
	close(c.done)
	go c.ended(e) // the driver waits for it, and others are not to
}

func (c *remote) ask(r request) (reply, error) {
	select {
	case <-c.done:
		return reply{}, os.ErrProcessDone
	default:
	}
	r.Child = c.id
	return c.keeper.ask(r, nil)
}

// alive asks the kernel, and not the keeper, which may be stopped or busy: who
// asks holds up others.
func (c *remote) alive() bool {
	select {
	case <-c.done:
		return false
	default:
	}
	return !c.keeper.proc.isEnding(c.number)
}

func (c *remote) act(r request) (reached int, err error) {
	answer, err := c.ask(r)
	return answer.Reached, err
}

func (c *remote) resume() error {
	_, err := c.ask(request{Op: opResume})
	return err
}

func (c *remote) signal(s syscall.Signal, to Reach) (reached int, err error) {
	return c.act(request{Op: opSignal, Signal: int(s), Reach: to})
}
func (c *remote) pause() (reached int, err error) { return c.act(request{Op: opPause}) }
func (c *remote) limit(l Limits) (reached int, err error) {
	return c.act(request{Op: opLimit, Limits: l})
}
