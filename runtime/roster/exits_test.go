package roster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ends are how a process may end: exit codes and signals.
var ends = []string{"0", "1", "17", "129", "130", "131", "137", "139", "143", "HUP", "INT", "QUIT", "KILL", "TERM", "SEGV", "ABRT", "USR1"}

// asked are what a process may have been asked, each with the ends that this makes
// asked-for, as the design has them.
var asked = map[string]struct {
	r    []Request
	fine string
}{
	"nothing":         {nil, ""},
	"shutdown":        {[]Request{{How: Shutdown}}, "0 TERM 143"},
	"stop":            {[]Request{{How: Stop, Signal: "TERM"}}, "0 TERM 143"},
	"the end":         {[]Request{{How: RunEnd}}, "0 TERM 143"},
	"shutdown, stop":  {[]Request{{How: Shutdown}, {How: Stop, Signal: "TERM"}}, "0 TERM 143"},
	"signal TERM":     {[]Request{{How: Signal, Signal: "TERM"}}, "0 TERM 143"},
	"signal INT":      {[]Request{{How: Signal, Signal: "INT"}}, "0 INT 130"},
	"signal QUIT":     {[]Request{{How: Signal, Signal: "QUIT"}}, "0 QUIT 131"},
	"signal HUP":      {[]Request{{How: Signal, Signal: "HUP"}}, "0 HUP 129"},
	"signal KILL":     {[]Request{{How: Signal, Signal: "KILL"}}, "KILL"},
	"signal USR1":     {[]Request{{How: Signal, Signal: "USR1"}}, "USR1"},
	"signal SEGV":     {[]Request{{How: Signal, Signal: "SEGV"}}, "SEGV"},
	"signal CONT":     {[]Request{{How: Signal, Signal: "CONT"}}, ""},
	"HUP, then KILL":  {[]Request{{How: Signal, Signal: "HUP"}, {How: Signal, Signal: "KILL"}}, "0 HUP 129 KILL"},
	"INT, then stop":  {[]Request{{How: Signal, Signal: "INT"}, {How: Stop, Signal: "TERM"}}, "0 INT 130 TERM 143"},
	"stop, then kill": {[]Request{{How: Stop, Signal: "TERM"}, {How: Kill, Signal: "KILL"}}, ""},
	"KILL and a kill": {[]Request{{How: Signal, Signal: "KILL"}, {How: Kill, Signal: "KILL"}}, ""},
}

// TestExits holds the table of exits, cell by cell: what was asked × how it ended
// × what the node had done and may do.
func TestExits(t *testing.T) {
	cells := 0
	for name, row := range asked {
		forced := strings.Contains(name, "kill")
		for _, end := range ends {
			for _, done := range []bool{false, true} {
				for _, mayExit := range []bool{false, true} {
					e := End{Asked: row.r, Done: done, MayExit: mayExit}
					if _, err := fmt.Sscan(end, &e.Code); err != nil {
						e.Code, e.Signal = -1, end
					}
					want := !forced && (mayExit || done && end == "0" || slices.Contains(strings.Fields(row.fine), end))
					if got := e.Unasked(); (got == "") != want {
						t.Errorf("asked: %s; ended: %s; done %v, may exit %v: %q", name, end, done, mayExit, got)
					}
					cells++
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

// TestCleanExits holds the same table where the ini says how the node is stopped: the
// stop signal and the clean codes take the place of TERM in what asks to shut down, and
// change nothing else.
func TestCleanExits(t *testing.T) {
	for _, clean := range []struct {
		Clean
		fine string // ends of a stop
	}{
		{Clean{}, "0 TERM 143"},
		{Clean{Signal: "TERM"}, "0 TERM 143"},
		{Clean{Codes: []int{17, 1}}, "0 TERM 143 17 1"},
		{Clean{Signal: "INT"}, "0 INT 130"},
		{Clean{Signal: "QUIT", Codes: []int{1}}, "0 QUIT 131 1"},
		{Clean{Signal: "USR1", Number: 10}, "0 USR1 138"},
		{Clean{Signal: "KILL", Number: 9}, "0 KILL 137"},
	} {
		for name, row := range asked {
			fine := row.fine
			if isStop := slices.ContainsFunc(row.r, func(r Request) bool { return r.How == Shutdown || r.How == Stop || r.How == RunEnd }); isStop {
				fine = strings.ReplaceAll(fine, "TERM 143", "") + " " + clean.fine
			}
			forced := strings.Contains(name, "kill")
			for _, end := range append(ends, "138") {
				e := End{Asked: row.r, Clean: clean.Clean}
				if _, err := fmt.Sscan(end, &e.Code); err != nil {
					e.Code, e.Signal = -1, end
				}
				want := !forced && slices.Contains(strings.Fields(fine), end)
				if got := e.Unasked(); (got == "") != want {
					t.Errorf("asked: %s; ended: %s; clean: %+v: %q", name, end, clean.Clean, got)
				}
			}
		}
	}
}

// TestUnaskedWords: the reason says what was asked, and what was expected.
func TestUnaskedWords(t *testing.T) {
	for _, test := range []struct {
		e    End
		want string
	}{
		{End{Code: 1}, "nothing had asked it to"},
		{End{Code: 1, Asked: []Request{{How: Shutdown}, {How: Stop, Signal: "TERM"}}},
			"it was asked to shut down, and exit code 0, TERM or 143 was expected"},
		{End{Code: 3, Asked: []Request{{How: Signal, Signal: "KILL"}}}, "it was sent KILL, and KILL was expected"},
		{End{Code: 3, Asked: []Request{{How: Signal, Signal: "HUP"}, {How: Shutdown}}},
			"it was sent HUP and asked to shut down, and exit code 0, HUP or 129, or exit code 0, TERM or 143 was expected"},
		{End{Code: 2, Asked: []Request{{How: Stop, Signal: "QUIT"}}, Clean: Clean{Signal: "QUIT", Codes: []int{1, 7}}},
			"it was asked to shut down, and exit code 0, 1, 7, QUIT or 131 was expected"},
		{End{Code: 3, Asked: []Request{{How: Signal, Signal: "CONT"}}}, "nothing had asked it to"},
		{End{Code: -1, Signal: "KILL", Asked: []Request{{How: Stop}, {How: Kill}}}, "it ignored what it was asked, and had to be killed"},
	} {
		if got := test.e.Unasked(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.e, got, test.want)
		}
	}
}

// TestHarmful: which signals are faults.
func TestHarmful(t *testing.T) {
	for _, s := range strings.Fields("KILL STOP ABRT BUS FPE ILL SEGV SYS TRAP XCPU XFSZ") {
		if !Harmful(s) {
			t.Errorf("%s is no harm", s)
		}
	}
	for _, s := range strings.Fields("TERM INT QUIT HUP TSTP TTIN TTOU CONT USR1 USR2 WINCH URG CHLD PIPE ALRM IO") {
		if Harmful(s) {
			t.Errorf("%s is harm", s)
		}
	}
}
