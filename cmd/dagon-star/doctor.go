package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/process"
)

func runDoctor(c command) int {
	f := newFlags(c, "doctor", "", `
Reports how surely nothing outlives a run on this machine and for this user, and
why not more surely; which faults the machine can do; and what runs that are dead
have left, which it removes. A run that lives is never touched.

Exit code: 0; 1 where something is left that it could not remove.
`)
	if code, done := parse(c, f, 0, 0); done {
		return code
	}
	code := exitPassed
	if d, err := process.New(process.Options{Run: fmt.Sprintf("doctor-%d", os.Getpid())}); err != nil {
		fmt.Fprintf(c.stdout, "containment: none: %v\n", err)
	} else {
		contain := d.Containment()
		fmt.Fprintf(c.stdout, "containment: %s: %s\n", contain.Rung, contain.Rung.Promise())
		for _, r := range contain.Refused {
			fmt.Fprintf(c.stdout, "  not %s: %s\n", r.Rung, r.Reason)
		}
		d.Close()
	}
	fmt.Fprint(c.stdout, "\nfaults:\n")
	faults := tabwriter.NewWriter(c.stdout, 0, 0, 1, ' ', 0)
	for _, fault := range runtime.Faults() {
		can := "yes"
		if err := runtime.Can(nil, fault); err != nil {
			can = "no: " + err.Error()
			if unsupported := new(runtime.UnsupportedError); errors.As(err, &unsupported) {
				can = "no: " + unsupported.Reason
			}
		}
		fmt.Fprintf(faults, "  %s\t%s\n", fault, can)
	}
	faults.Flush()
	fmt.Fprint(c.stdout, "\nleft by dead runs:\n")
	swept := folder.Sweep()
	for _, p := range swept.Processes {
		what := "killed"
		if errors.Is(p.Err, folder.ErrOutOfLife) { // it was given the variables by hand, or so it seems
			what = fmt.Sprintf("left alone: %v", p.Err)
		} else if !p.Killed {
			what, code = fmt.Sprintf("left alone: %v", p.Err), 1
		}
		who := fmt.Sprintf("process %d of %s, run %s in %s", p.PID, line(p.Node), line(p.Run), line(p.Folder))
		switch {
		case p.Keeper:
			who = fmt.Sprintf("process %d, the keeper of run %s", p.PID, line(p.Run))
		case p.Folder == "":
			who = fmt.Sprintf("process %d of run %s", p.PID, line(p.Run))
		}
		fmt.Fprintf(c.stdout, "  %s: %s\n", who, what)
	}
	for _, path := range swept.Groups {
		fmt.Fprintf(c.stdout, "  control group %s: removed\n", path)
	}
	if swept.Err != nil {
		code = 1
		fmt.Fprintf(c.stdout, "  %v\n", swept.Err)
	}
	if len(swept.Processes)+len(swept.Groups) == 0 && swept.Err == nil {
		fmt.Fprintln(c.stdout, "  nothing")
	}
	return code
}

// line is a text that somebody else wrote, as a part of a line.
func line(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
