// Package process starts, stops, freezes and kills the processes of a run, and
// captures their output.
//
// A Driver starts processes; New is this machine's, and another - a container
// or cluster engine - may stand in its place. A Process is a whole tree: the
// process that was started with all that it started itself, whether or not it
// has left its group or session. Only what the driver started is ever signalled
// or waited for.
//
// # Containment
//
// How surely nothing outlives a run is a ladder of rungs, of which New takes the
// highest that the machine gives:
//
//   - Sealed: one small process, the keeper, is the init of a PID namespace, in
//     a user namespace where the user is not root. It forks on request. When it
//     ends, or whoever holds it does, the kernel kills all in it.
//   - Cgroup: every process is born into a control group of its own; the keeper
//     kills the groups when the orchestrator is gone.
//   - Supervised: the keeper is what orphans are given to (a subreaper), and
//     kills all of them when the orchestrator is gone.
//   - Bare: no keeper. A process dies with the orchestrator by its parent-death
//     signal; what has left its process group may live on until the next sweep.
//
// The keeper is the program itself, executed once more, which takes one call at
// the top of its main: see Keeper. Without it, all a driver can be is bare.
package process

import (
	"context"
	"io"
	"os"
	"time"
)

// Spec says what to start.
type Spec struct {
	// Argv is the command line. Its first element is a path, or the name of a
	// program in the PATH of Env.
	Argv []string
	// Env is the whole environment, KEY=VALUE.
	Env []string
	// Dir is the working folder; "" is the driver's own.
	Dir string
	// Tag is the one variable of Env, KEY=VALUE, that no other process has: what
	// has left all that the kernel knows the tree by is known by it.
	Tag string
	// Credential is who it runs as, with all that it starts; nil is who the driver runs
	// as. Another than that takes root. What it writes is that user's to open again, as
	// by /dev/stdout.
	Credential *Credential
	// Stdin is what it reads, and then the end; "" is the end alone. It may close its
	// standard input, or end, before it has read all. Of a TTY it is ignored.
	Stdin string
	// TTY gives the process a terminal instead of pipes; what it writes there
	// goes to Stdout, without the carriage returns at the ends of lines.
	TTY bool
	// TTYSize is the size of the terminal; the zero Size is 80 columns and 24 rows.
	TTYSize Size
	// Stdout and Stderr are given what the process writes, as it was read, each
	// from one goroutine. Nil throws it away, and so does a writer that fails:
	// a process is never held up by an error of its reader. The order between
	// the two streams is only that in which they were read. A StreamEnder is told of
	// the end of its stream.
	Stdout, Stderr io.Writer
}

// Credential is a user with the groups that the process is in, and no other ones.
type Credential struct {
	Name     string // of the user, for errors
	UID, GID uint32
	Groups   []uint32 // besides GID
}

// StreamEnder is a Stdout or Stderr that is told when it gets no more, as the process, and
// whoever has its stream from it, has closed that. Of a stream that is open when the
// process has ended it may be told or not.
type StreamEnder interface{ EndStream() }

// endStream tells a writer that its stream has ended.
func endStream(w io.Writer) {
	if e, ok := w.(StreamEnder); ok {
		e.EndStream()
	}
}

// Size is the size of a terminal, in characters; both are below 65536.
type Size struct{ Columns, Rows int }

// Driver starts processes.
type Driver interface {
	// Start starts a process; it is a *StartError where the program or the
	// working folder is at fault.
	Start(Spec) (Process, error)
	// Containment tells how surely nothing of the driver's outlives it.
	Containment() Containment
	// Can tells why a fault cannot be done here; nil where it can.
	Can(fault string) error
	// Close waits for the processes that are still running, and then gives
	// back what the driver holds.
	Close() error
}

// Reaper is a Driver that has a last means where its processes do not end
// although they were killed.
type Reaper interface {
	// KillKeeper has the keeper, which should have ended them, end with all that is
	// in its care, and kills it if it does not, with them. It returns when that is
	// gone. Nothing can be started after it.
	KillKeeper()
}

// Meter is a Driver that tells what its processes use.
type Meter interface {
	// Usage tells what the trees of some processes use now; zero for one that has ended,
	// or of which it is not known. It takes about as long as it takes to look at each
	// process of the machine that the driver's may be among. It ends with ctx.
	Usage(ctx context.Context, of []Process) ([]Usage, error)
}

// Usage is what a tree uses.
type Usage struct {
	// CPU is what it has used so far, user and system. It never falls.
	CPU time.Duration
	// Memory is in bytes: what its control group is charged with, or else the sum of
	// what is resident of each process.
	Memory    int64
	Processes int
}

// What can be done to a process, for Can.
const (
	FaultSignal      = "signal"
	FaultPause       = "pause"
	FaultLimitCPU    = "limit.cpu"
	FaultLimitMemory = "limit.memory"
	FaultLimitFiles  = "limit.files"
)

// Reach is how much of a tree a signal is sent to.
type Reach bool

// A signal goes to the process that was started alone, or to its whole tree.
const (
	Leader Reach = false
	Tree   Reach = true
)

// Process is a process that was started, with its whole tree.
//
// Each act is os.ErrProcessDone if the process that was started had ended before
// it. It then reaches nobody, but for one: to kill a tree kills what is left of
// it all the same, and reports how many that were beside os.ErrProcessDone. Whether
// it had ended is asked where the process is reaped, in one step with the act. A
// kill that came while the process was ending by itself did not end it, and is
// os.ErrProcessDone too.
type Process interface {
	// PID is its number as the orchestrator's own machine shows it.
	PID() int
	// Alive reports whether the process that was started has not ended, by the
	// kernel's word at the moment of the call. It has ended when it is a zombie,
	// which may be before Done.
	Alive() bool
	// Signal sends a signal, and reports how many processes it reached. To kill a
	// tree returns when nothing of it runs any more.
	Signal(os.Signal, Reach) (reached int, err error)
	// Pause stops the tree, and returns when all of it has stopped; reached is how
	// many it stopped. Resume lets go on what Pause stopped, and not what had been
	// stopped before it.
	Pause() (reached int, err error)
	Resume() error
	// Limit puts limits on the tree, in the place of those that it has, and
	// reports how many processes are under them; the zero Limits are none.
	Limit(Limits) (reached int, err error)
	// Done is closed when the process has ended, what it left of its tree has
	// been killed, and its output has been read to the end.
	Done() <-chan struct{}
	// Exit tells how it ended, once Done is closed.
	Exit() Exit
}

// Ender is a Process that calls a function when it has ended, so that nobody has to
// wait for it meanwhile.
type Ender interface {
	// AfterEnd calls f in a goroutine of its own once Done is closed.
	AfterEnd(f func())
}

// Reader is a Process whose output can be read out of turn.
type Reader interface {
	// ReadNow reads what the process has written so far, and returns when its
	// writers have been given it. What is written meanwhile may be among it.
	ReadNow()
}

// Limits are what a tree may use; a zero field is no limit.
type Limits struct {
	CPU    float64 // processors
	Memory int64   // bytes, in RAM
	Files  int     // open files of each process, by its soft limit
}

// Exit is how a process ended.
type Exit struct {
	Code         int           // -1 where a signal ended it
	Signal       string        // "KILL", "SEGV", …; "" where it exited
	User, System time.Duration // of the tree, as far as its ends were seen
	MaxRSS       int64         // bytes, of the largest process of the tree
	Left         []int         // what of its tree outlived it and was killed
	OutOfMemory  int           // processes that the kernel killed as the tree was at its memory limit
	Note         string        // what else is known of it, or ""
}
