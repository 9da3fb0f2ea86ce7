package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// DefaultMaxOutput is how many bytes a command may write to each of its outputs.
const DefaultMaxOutput = 16 << 20

// execVariable tells the processes of a command from all others. tokenVariable is that
// of a node's incarnation, of which they are none.
const (
	execVariable  = "DAGON_EXEC"
	tokenVariable = "DAGON_TOKEN"
)

// Command is a command at the side of a node.
type Command struct {
	Node string   // for errors
	Argv []string // see Shell for a line of text
	// Env is the whole environment, that of the node. What tells the processes of the
	// node's incarnation from others is taken out of it: a command is none of them.
	Env        []string
	Dir        string
	Credential *process.Credential // see process.Spec
	Stdin      string
	// MaxOutput bounds Stdout and Stderr, each, in bytes; 0 is DefaultMaxOutput. A
	// command that writes more is ended.
	MaxOutput int
	// Check makes an error of an end other than exit code 0.
	Check bool
}

// Shell is the command line that has a shell run a line of text.
func Shell(line string) []string { return []string{"/bin/sh", "-c", line} }

// Output is what a command came to.
type Output struct {
	Stdout, Stderr []byte
	Code           int    // -1 where a signal ended it
	Signal         string // "KILL", "SEGV", …; "" where it exited
	Left           []int  // what it had started and not waited for, and was killed with its end
}

// Outcome is the outcome of the command where exit code 0 was expected of it.
func (o *Output) Outcome() history.Outcome { return exitAnswer(o.Code, o.Signal).Outcome(true) }

// Exec runs a command, and returns when nothing of it runs any more.
//
// A command is a process of the run, contained as its nodes are, and a tree of its own:
// it runs whether or not the node runs, to pause, limit or kill the node leaves it
// alone, and it does not hold up the node's end. Its tree ends when the process ends
// that was started; what shall live on is a node. When ctx is done the tree is killed.
//
// The error is an *Error, or a *Mistake where there is no such command, or one that is too
// long for the system. It is a fail if the command could not be started, or, with Check,
// exited with a code other than 0; an info if it was given up, wrote too much, or, with
// Check, was ended by a signal, which a shell tells by a code above 128, or by another of
// the codes that leave it open: see exitAnswer. Beside it is the output as far as it came,
// unless nothing was started.
func Exec(ctx context.Context, d process.Driver, c Command) (*Output, error) {
	fail := func(a Answer, started bool, problem, expected string, err error) *Error {
		return &Error{Outcome: a.Outcome(started), Action: strings.TrimSpace("exec " + commandText(c.Argv)), Node: c.Node,
			Problem: problem, Expected: expected, Err: err}
	}
	mistake := func(problem string) error {
		return &Mistake{Action: strings.TrimSpace("exec " + commandText(c.Argv)), Problem: problem}
	}
	hasNUL := func(s string) bool { return strings.Contains(s, "\x00") }
	switch {
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return nil, mistake("there is no program to run")
	case slices.ContainsFunc(c.Argv, hasNUL), slices.ContainsFunc(c.Env, hasNUL):
		return nil, mistake("a word or a variable has a NUL, which no command can be given")
	case ctx.Err() != nil:
		return nil, fail(None, false, "it was not started", "", context.Cause(ctx))
	}
	most := c.MaxOutput
	if most <= 0 {
		most = DefaultMaxOutput
	}
	full := make(chan string, 2)
	stdout, stderr := &capture{name: "stdout", most: most, full: full}, &capture{name: "stderr", most: most, full: full}
	tag := execVariable + "=" + rand.Text()
	p, err := d.Start(process.Spec{
		Argv: c.Argv, Env: append(without(c.Env, execVariable, tokenVariable), tag), Dir: c.Dir, Tag: tag,
		Credential: c.Credential, Stdin: c.Stdin, Stdout: stdout, Stderr: stderr,
	})
	if errors.Is(err, syscall.E2BIG) {
		return nil, mistake("its words and variables are too long for the system: give what is long as its input")
	}
	if err != nil {
		return nil, fail(None, false, "it was not started", "", err)
	}
	tooMuch := func(which string) *Error {
		return fail(None, true, fmt.Sprintf("it wrote more than %d bytes to %s, of which the rest is lost", most, which), "", nil)
	}
	var gaveUp *Error
	select {
	case <-p.Done():
	case <-ctx.Done():
		gaveUp = fail(None, true, "it was given up and killed", "", context.Cause(ctx))
	case which := <-full:
		gaveUp = tooMuch(which)
	}
	if gaveUp != nil {
		_, err := p.Signal(os.Kill, process.Tree)
		endedBefore := errors.Is(err, os.ErrProcessDone)
		if err != nil && !endedBefore {
			gaveUp.Problem += ", which it may have survived"
			gaveUp.Err = errors.Join(gaveUp.Err, err)
			return &Output{Stdout: stdout.bytes(), Stderr: stderr.bytes(), Code: -1}, gaveUp
		}
		if <-p.Done(); endedBefore && ctx.Err() != nil && !stdout.isOver() && !stderr.isOver() {
			gaveUp = nil // its end was its own
		}
	}
	exit := p.Exit()
	out := &Output{Stdout: stdout.bytes(), Stderr: stderr.bytes(), Code: exit.Code, Signal: exit.Signal, Left: exit.Left}
	if gaveUp != nil {
		return out, gaveUp
	}
	for _, c := range []*capture{stdout, stderr} {
		if c.isOver() { // it had ended before that was seen
			return out, tooMuch(c.name)
		}
	}
	if a := exitAnswer(exit.Code, exit.Signal); c.Check && a != Done {
		problem := fmt.Sprintf("it exited with code %d", exit.Code)
		if exit.Signal != "" {
			problem = "it was ended by signal " + exit.Signal
		}
		if exit.Note != "" {
			problem += " (" + exit.Note + ")"
		}
		if said := lastLine(out.Stderr); said != "" {
			problem += ", having said " + said
		}
		return out, fail(a, true, problem, "exit code 0", nil)
	}
	return out, nil
}

// commandText is a command line as an error shows it.
func commandText(argv []string) string {
	text := strings.Join(argv, " ")
	if len(argv) == 3 && argv[0] == "/bin/sh" && argv[1] == "-c" {
		text = argv[2]
	}
	return firstLine([]byte(text))
}

// lastLine is the end of a text, quoted for an error; "" where there is none.
func lastLine(text []byte) string {
	s := strings.TrimSpace(string(text[max(0, len(text)-1024):]))
	return firstLine([]byte(s[strings.LastIndexByte(s, '\n')+1:]))
}

// without leaves variables out of an environment.
func without(env []string, names ...string) []string {
	kept := make([]string, 0, len(env)+1)
next:
	for _, v := range env {
		for _, name := range names {
			if strings.HasPrefix(v, name+"=") {
				continue next
			}
		}
		kept = append(kept, v)
	}
	return kept
}

// capture keeps what is written to it, up to a limit, and says once that there was more.
type capture struct {
	name string
	most int
	full chan<- string // has room

	mu   sync.Mutex
	kept []byte
	over bool
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := min(len(p), c.most-len(c.kept))
	c.kept = append(c.kept, p[:room]...)
	if room == len(p) {
		return room, nil
	}
	if !c.over {
		c.over = true
		c.full <- c.name
	}
	return room, io.ErrShortWrite
}

// isOver reports whether there was more.
func (c *capture) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// bytes are what has been kept so far.
func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}
