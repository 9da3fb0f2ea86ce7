package process

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperName is the argv[0] of a keeper: what it is known by, also to people.
const keeperName = "dagon-star-keeper"

// driverFile is the file of a keeper that is a pidfd of its driver, where the
// kernel has such: by it others see whether the driver is dead, whose namespace
// and folder they need not know.
const driverFile = 4

// called tells that this program calls Keeper, so that it can be executed once
// more as one. It is a fact about the program, and only ever becomes true.
var called atomic.Bool

func init() {
	if len(os.Args) > 0 && os.Args[0] == keeperName {
		goruntime.LockOSThread() // main shall run on the main thread, which is given the orphans
	}
}

// Keeper lets this program contain what it starts on a higher rung than bare. It
// belongs at the very top of main, or of TestMain:
//
//	func main() {
//		if process.Keeper() {
//			return
//		}
//		...
//
// A driver executes the program once more as its keeper, and in that one Keeper
// does the keeper's work and returns true when it is over. In any other it does
// nothing and returns false at once.
func Keeper() bool {
	if len(os.Args) != 3 || os.Args[0] != keeperName {
		called.Store(true)
		return false
	}
	keep(Rung(os.Args[1]), os.Args[2])
	return true
}

// keeper is the work of a keeper. What it has begun for a driver that is gone
// ends with its process.
type keeper struct {
	rung     Rung
	local    *local
	proc     *procfs
	hostProc *os.File // the machine's own /proc, where this one is another's
	orphans  *os.File // see trees
	requests *rightsReader
	decoder  *gob.Decoder
	forking  sync.WaitGroup

	mu       sync.Mutex
	encoder  *gob.Encoder
	children map[uint64]*child
}

// keep does the work of a keeper until its driver is gone.
func keep(rung Rung, run string) {
	socket := os.NewFile(3, "driver")
	unix.CloseOnExec(3)
	unix.CloseOnExec(driverFile)
	conn, err := net.FileConn(socket)
	socket.Close()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: it is started by a driver alone: %v\n", keeperName, err)
		return
	}
	k := &keeper{rung: rung, requests: &rightsReader{conn: conn.(*net.UnixConn)}, encoder: gob.NewEncoder(conn),
		children: map[uint64]*child{}}
	k.decoder = gob.NewDecoder(k.requests)
	// Handled, and not ignored: that would be inherited.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCHLD)
	err = k.settle()
	k.send(reply{Error: toWire(err)})
	if err != nil {
		return
	}
	t := trees{rung: rung, proc: k.proc, groups: newGroups(run), orphans: k.orphans, hostProc: k.hostProc, namespaces: new(sync.Map)}
	if rung == Sealed {
		t.slacks = newSlacks()
	} else {
		t.serials = newSerials()
	}
	k.local = newLocal(t)
	over := make(chan uint64)
	go func() { over <- k.serve() }()
	var soon <-chan time.Time
	for {
		select {
		case sig := <-signals:
			if sig == unix.SIGCHLD && soon == nil { // a thousand may end at once
				signal.Reset(unix.SIGCHLD)
				soon = time.After(reapAfter)
			}
		case <-soon:
			soon = nil
			signal.Notify(signals, unix.SIGCHLD) // before it looks: no end is missed
			k.reap()
		case id := <-over:
			err := k.end()
			if id != 0 {
				k.send(reply{ID: id, Error: toWire(err)})
			}
			return
		}
	}
}

// reapAfter is how long a dead orphan that nobody waits for remains a zombie.
const reapAfter = 10 * time.Millisecond

// reap reaps the orphans that have ended.
func (k *keeper) reap() {
	k.local.reaping.Lock()
	defer k.local.reaping.Unlock()
	var usage syscall.Rusage
	adopted, _ := k.local.trees.adopted() // what is not reaped now is at its end
	for _, pid := range adopted {
		reap(pid, &usage)
	}
}

// settle makes this process what its rung asks for.
func (k *keeper) settle() (err error) {
	if k.rung != Sealed {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("cannot become a subreaper: %w", err)
		}
		return k.openOrphans()
	}
	if os.Getpid() != 1 {
		return errors.New("the keeper is not the first process of a PID namespace")
	}
	if k.hostProc, err = detach("/proc"); err != nil {
		return err
	}
	// What is mounted outside is seen here, and nothing the other way.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot take the mounts apart%s: %w", appArmor(), err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount a /proc for the namespace%s: %w", appArmor(), err)
	}
	return k.openOrphans()
}

// openOrphans opens the file that tells the children of the main thread.
func (k *keeper) openOrphans() (err error) {
	if k.proc, err = openProc(); err != nil {
		return err
	}
	pid := os.Getpid()
	if k.orphans, err = openAt(k.proc.dir, fmt.Sprintf("%d/task/%d/children", pid, pid), unix.O_RDONLY); err != nil {
		return errors.New("the kernel does not tell a process's children (/proc/PID/task/TID/children)")
	}
	return nil
}

func appArmor() string {
	if text, _ := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); strings.HasPrefix(string(text), "1") {
		return " (AppArmor restricts user namespaces: see the sysctl kernel.apparmor_restrict_unprivileged_userns)"
	}
	return ""
}

func (k *keeper) send(r reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.encoder.Encode(r) // a driver that is gone shows when it is read from
}

// serve answers requests until the driver asks to close, and returns the
// request's ID, or is gone, and returns 0.
func (k *keeper) serve() uint64 {
	for {
		var r request
		if k.decoder.Decode(&r) != nil {
			return 0
		}
		switch r.Op {
		case opClose:
			return r.ID
		case opFork:
			k.fork(r, k.requests.take(files))
		default:
			go func() { k.send(k.do(r)) }()
		}
	}
}

// fork forks, and tells the driver of the child when it has been and when it has
// ended.
func (k *keeper) fork(r request, attached []*os.File) {
	k.forking.Add(1)
	id := r.ID // the rest is not kept for as long as the child lives
	forked := func(c *child, err error) {
		defer k.forking.Done()
		for _, f := range attached {
			f.Close()
		}
		if err != nil {
			k.send(reply{ID: id, Error: toWire(err)})
			return
		}
		k.mu.Lock()
		k.children[id] = c
		k.mu.Unlock()
		k.send(reply{ID: id, Forked: true, PID: c.mark.outside})
	}
	ended := func(e Exit) {
		k.mu.Lock()
		delete(k.children, id)
		k.mu.Unlock()
		k.send(reply{ID: id, Exit: &e})
	}
	if len(attached) != files || r.Image == nil {
		forked(nil, errors.New("the files of the process did not arrive"))
		return
	}
	k.local.begin(image{path: r.Image.Path, argv: r.Image.Argv, env: r.Image.Env, dir: r.Image.Dir,
		tag: r.Image.Tag, tty: r.Image.TTY, user: r.Image.User, files: attached}, forked, ended)
}

// do does to a child what the driver asks for, and returns the reply.
func (k *keeper) do(r request) reply {
	k.mu.Lock()
	c := k.children[r.Child]
	k.mu.Unlock()
	answer := reply{ID: r.ID}
	err := os.ErrProcessDone
	switch {
	case r.Op == opUsage:
		answer.Used, err = k.usage()
	case c == nil:
	case r.Op == opSignal:
		answer.Reached, err = c.signal(syscall.Signal(r.Signal), r.Reach)
	case r.Op == opPause:
		answer.Reached, err = c.pause()
	case r.Op == opResume:
		err = c.resume()
	case r.Op == opLimit:
		answer.Reached, err = c.limit(r.Limits)
	default:
		err = fmt.Errorf("the keeper knows no operation %d", r.Op)
	}
	answer.Error = toWire(err)
	return answer
}

// usage is what the keeper's children use.
func (k *keeper) usage() (map[uint64]Usage, error) {
	used, err := k.local.used()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[uint64]Usage{}
	for id, c := range k.children {
		if u, known := used[c]; known {
			all[id] = u
		}
	}
	return all, nil
}

// end kills all that is left in the keeper's care.
func (k *keeper) end() error {
	k.forking.Wait() // or one that is being born would be missed
	for w := (waiter{}); ; {
		for _, s := range k.left() {
			s.send(syscall.SIGKILL)
		}
		k.reap()
		// All that runs in its care has a parent that does, or is its child.
		var info unix.Siginfo
		gone := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD
		if gone || !w.wait(2*killedWithin) {
			break
		}
	}
	return k.local.close()
}

// left are the processes in the keeper's care that run.
func (k *keeper) left() []stat {
	all, _ := k.proc.processes(nil) // again until nothing is left
	self := os.Getpid()
	if k.rung == Sealed {
		return slices.DeleteFunc(all, func(s stat) bool { return !s.runs() || s.pid == self })
	}
	return below(all, self)
}

// dropInheritable sees to it that this thread's children have none of the
// capabilities that the keeper has in its user namespace.
func dropInheritable() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	unix.Capset(&header, &data[0]) // what is ambient goes with it (capabilities(7))
}
