package main

import (
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/dagon-star/dagon-star/cmd/dagon-star/live"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/script"
)

// screen is the terminal while there is something on it that repaints; nil where lines are
// printed.
type screen struct {
	*live.Screen
	run *live.Run // nil where it shows something else
}

// plainFlag adds the flag that has lines printed on a terminal too.
func plainFlag(f *pflag.FlagSet, c *command) {
	f.BoolVar(&c.plain, "plain", false, "print lines on a terminal too, as is done elsewhere")
}

// screen makes the terminal one that shows a run, if wanted is true and it is a terminal, and
// has what is printed to it shown on it. Keys that ask for the end are sent to asked.
func (c *command) screen(wanted bool, asked chan<- os.Signal) *screen {
	run := &live.Run{}
	s := c.show(wanted, run, asked)
	if s != nil {
		s.run = run
	}
	return s
}

// show is screen for anything that is to be shown.
func (c *command) show(wanted bool, what live.Show, asked chan<- os.Signal) *screen {
	if !wanted || c.plain || !paints(os.LookupEnv) || !isTerminal(c.rawStdout) {
		return nil
	}
	s := &screen{Screen: live.NewScreen(live.Options{
		Show: what, Out: c.stdout, NoColor: os.Getenv("NO_COLOR") != "",
		Outlet: func(w io.Writer) io.Writer { return &outlet{all: c.outlets, w: w} },
		Interrupt: func() {
			select {
			case asked <- os.Interrupt:
			default: // so many have been sent that one more asks for nothing
			}
		},
	})}
	c.stdout = s
	if isTerminal(c.rawStderr) {
		c.stderr = s.Beside(c.stderr)
	}
	return s
}

// paints reports whether a terminal in such an environment is one to be painted, and for a
// person.
func paints(lookup func(string) (string, bool)) bool {
	if ci, _ := lookup("CI"); ci != "" && ci != "false" {
		return false
	}
	kind, _ := lookup("TERM")
	return kind != "" && kind != "dumb"
}

// isTerminal reports whether what is written goes to a terminal.
func isTerminal(w io.Writer) bool {
	o, ok := w.(*outlet)
	if !ok {
		return false
	}
	f, ok := o.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// follow has the run of a configuration shown.
func (s *screen) follow(config *script.Config) {
	if s == nil || s.run == nil {
		return
	}
	print := config.Observer
	config.Observer = func(e event.Event) {
		s.run.Observe(e)
		print(e)
	}
	config.Started = func(run *runtime.Run) {
		s.run.Started(run.Folder(), run.Elapsed)
		s.Open()
	}
}

// Close gives the terminal back.
func (s *screen) Close() {
	if s != nil {
		s.Screen.Close()
	}
}
