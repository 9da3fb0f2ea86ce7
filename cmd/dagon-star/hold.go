package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/verdict"
	"github.com/dagon-star/dagon-star/script"
)

// holding says whether a run that fails is held, and for how long.
type holding struct {
	on      *bool
	timeout *time.Duration // 0 is for ever
}

// defaultHold is how long a failure is held unless --hold-timeout says another.
const defaultHold = 10 * time.Minute

func holdFlags(f *pflag.FlagSet) *holding {
	timeout := defaultHold
	h := &holding{timeout: &timeout}
	h.on = f.Bool("hold-on-failure", false, "keep the system as it is where the run fails, to look at it, until q and Enter")
	f.Var(duration{&h.timeout}, "hold-timeout", "how long it is kept at most; 0 is for ever")
	return h
}

// of has a run that is to be held so: in says what is held, "" where that is clear. What
// there is to see is printed to w when the observer has shown all that was before.
func (h *holding) of(config *script.Config, w io.Writer, in string) {
	if !*h.on {
		return
	}
	shown := make(chan struct{})
	if observe := config.Observer; observe != nil {
		config.Observer = func(e event.Event) {
			observe(e)
			if e.Kind() == event.KindHeld {
				close(shown)
			}
		}
	} else {
		close(shown)
	}
	own := config.Component
	config.Hold = func(ctx context.Context, run *runtime.Run, v verdict.Verdict) string {
		ctx, end := context.WithCancelCause(ctx)
		defer end(nil)
		if limit := *h.timeout; limit > 0 {
			timer := run.Clock().AfterFunc(limit, func() { end(fmt.Errorf("it was held for %s (--hold-timeout)", limit)) })
			defer timer.Stop()
		}
		select {
		case <-shown:
		case <-ctx.Done():
		}
		io.WriteString(w, h.text(run, v, in, own)) // who cannot read it may still end it
		if entered(ctx, "q") {
			return "q was entered"
		}
		<-ctx.Done()
		return context.Cause(ctx).Error()
	}
}

// mostHeld is how many nodes are told of one that is held.
const mostHeld = 40

// text says what is held, and how to look at it.
func (h *holding) text(run *runtime.Run, v verdict.Verdict, in, own string) string {
	var b strings.Builder
	what := string(v.Outcome)
	if in != "" {
		what = in + ": " + what
	}
	if v.Where != "" {
		what += " at " + v.Where
	}
	fmt.Fprintf(&b, "\nheld after %s: %s: %s\n\n", run.Elapsed().Round(time.Millisecond), what, v.Reason)
	nodes := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	all := run.Nodes()
	for _, n := range all[:min(len(all), mostHeld)] {
		fmt.Fprintf(nodes, "  %s\t%s\t%s\n", line(n.Name), nodeState(n), strings.Join(endpoints(n), ", "))
	}
	nodes.Flush()
	if more := len(all) - mostHeld; more > 0 {
		fmt.Fprintf(&b, "  … and %d more nodes\n", more)
	}
	var inForce []string
	faults := run.Faults()
	for _, r := range faults.Records() {
		if r.InForce(run.Elapsed()) {
			inForce = append(inForce, r.Title())
		}
	}
	if inForce == nil {
		inForce = []string{"none"}
	}
	folder := relative(run.Folder())
	goOn := "q and Enter, or ctrl-C"
	if *h.timeout > 0 {
		goOn += fmt.Sprintf("; by itself after %s", *h.timeout)
	}
	fmt.Fprintf(&b, "\n  faults in force: %s\n  look inside:     %s NODE CMD...\n  folders:         %s\n  logs:            %s\n  go on:           %s\n",
		strings.Join(inForce, ", "), invocation(own, []string{"exec", "--run", folder}),
		filepath.Join(folder, "nodes", "NODE"), filepath.Join(folder, "logs", "NODE.log"), goOn)
	return b.String()
}

// nodeState is the state of a node as a person asks for it.
func nodeState(n runtime.NodeInfo) string {
	switch {
	case n.State == "":
		return "not forked"
	case n.ExitCode != nil && n.Signal != "":
		return "exited by signal " + n.Signal
	case n.ExitCode != nil:
		return fmt.Sprintf("exited %d", *n.ExitCode)
	case n.Paused:
		return fmt.Sprintf("%s, paused, pid %d", n.State, n.PID)
	}
	return fmt.Sprintf("%s, pid %d", n.State, n.PID)
}

// endpoints are those of a node, "data 127.1.2.3:4000"; its address alone where it has none.
func endpoints(n runtime.NodeInfo) (all []string) {
	for name, at := range n.Endpoints {
		all = append(all, name+" "+at)
	}
	slices.Sort(all)
	if all == nil {
		all = []string{n.Host}
	}
	return all
}

// entered reads lines of the standard input until one is a word, and reports whether one
// was: not where it ends, or ctx is done, before.
func entered(ctx context.Context, word string) bool {
	var text []byte
	buffer := make([]byte, 4096)
	for readable(ctx) {
		n, err := os.Stdin.Read(buffer)
		for line := range strings.Lines(string(append(text, buffer[:n]...))) {
			text = nil
			if err == nil && !strings.HasSuffix(line, "\n") {
				text = []byte(line[:min(len(line), len(buffer))]) // no word is longer
			} else if strings.TrimSpace(line) == word {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
	return false
}
