package folder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// TestLeftovers: who is killed, and who is left alone and why, of a machine's
// processes. The runs "dead" and "other" lived from tick 100 to 200; the sweep is
// process 50.
func TestLeftovers(t *testing.T) {
	const boot = "now"
	of := func(c claim) (state, life) {
		switch c.run {
		case "dead", "other":
			return dead, life{boot, 100, 200}
		case "rebooted":
			return dead, life{"before", 100, 200}
		case "alive":
			return alive, life{}
		}
		return unknown, life{}
	}
	type p struct {
		pid, parent int
		began       uint64
		run         string
	}
	sweep := p{50, 40, 300, ""}
	for name, test := range map[string]struct {
		all  []p
		want string
	}{
		"a keeper, with what it keeps": {[]p{sweep, {60, 1, 150, "keeper"}, {61, 60, 150, "alive"}, {62, 61, 250, ""}},
			"60 killed, 61 killed, 62 killed"},
		"a keeper above the sweep": {[]p{{40, 1, 150, "keeper"}, {50, 40, 300, ""}, {60, 40, 150, ""}}, ""},
		"born in the life":         {[]p{sweep, {60, 1, 150, "dead"}}, "60 killed"},
		"born as it began":         {[]p{sweep, {60, 1, 100, "dead"}}, "60 killed"},
		"born as it ended":         {[]p{sweep, {60, 1, 200, "dead"}}, "60 out of life"},
		"born before it":           {[]p{sweep, {60, 1, 99, "dead"}}, "60 out of life"},
		"born before a reboot":     {[]p{sweep, {60, 1, 150, "rebooted"}}, "60 out of life"},
		"a run that lives":         {[]p{sweep, {60, 1, 150, "alive"}}, ""},
		"unknown":                  {[]p{sweep, {60, 1, 150, "gone"}}, "60 unknown"},
		"a daemon's late child":    {[]p{sweep, {60, 1, 150, "dead"}, {61, 60, 250, "dead"}}, "60 killed, 61 killed"},
		"its number is lower":      {[]p{sweep, {60, 61, 250, "dead"}, {61, 1, 150, "dead"}}, "60 killed, 61 killed"},
		"a child without variables": {[]p{sweep, {60, 1, 150, "dead"}, {61, 60, 150, ""}, {62, 61, 250, "dead"}},
			"60 killed, 61 killed, 62 killed"},
		"a late orphan":          {[]p{sweep, {60, 1, 250, "dead"}}, "60 out of life"},
		"the shell of the sweep": {[]p{{40, 1, 250, "dead"}, {50, 40, 300, "dead"}, {60, 40, 260, "dead"}}, "60 out of life"},
		"a shell that a node left": {[]p{{40, 1, 150, "dead"}, {50, 40, 300, "dead"}, {60, 40, 260, "dead"}, {61, 40, 160, "dead"}},
			"60 out of life, 61 killed"},
		"what the sweep has started": {[]p{{40, 1, 150, "dead"}, {50, 40, 160, "dead"}, {60, 50, 170, "dead"}, {61, 60, 180, "other"}}, ""},
		"a run in a node of another": {[]p{sweep, {60, 1, 150, "dead"}, {61, 60, 160, "alive"}}, "60 killed, 61 killed"},
		"a node of a run in a node":  {[]p{sweep, {60, 1, 150, "alive"}, {61, 60, 160, "dead"}}, "61 killed"},
		"parents in a circle":        {[]p{sweep, {60, 61, 250, "dead"}, {61, 60, 250, "dead"}}, "60 out of life, 61 out of life"},
	} {
		var all []process.Seen
		for _, p := range test.all {
			seen := process.Seen{PID: p.pid, Parent: p.parent, Began: p.began}
			if p.run == "keeper" {
				seen.Abandoned = "dead"
			} else if p.run != "" {
				seen.Variables = map[string]string{"DAGON_RUN": p.run, "DAGON_NAME": "x", Variable: "/f"}
			}
			all = append(all, seen)
		}
		var got []string
		for _, l := range leftovers(all, 50, boot, of) {
			what := map[error]string{nil: "killed", ErrUnknownRun: "unknown", ErrOutOfLife: "out of life"}[l.Err]
			got = append(got, fmt.Sprint(l.PID, " ", what))
		}
		if got := strings.Join(got, ", "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestTurn: whose turn it is of what was found.
func TestTurn(t *testing.T) {
	for name, test := range map[string]struct {
		found string // k keeper, p process, e one to be left alone
		want  string
	}{
		"nothing":                  {"", ""},
		"a process":                {"p", "p again"},
		"one to be left alone":     {"e", "e"},
		"a keeper":                 {"pk", "p again"},
		"nothing of what it keeps": {"k", "k again"},
		"another's beside it":      {"ek", "ek again"},
	} {
		var found []Leftover
		for i, c := range test.found {
			l := Leftover{PID: i, Keeper: c == 'k'}
			if c == 'e' {
				l.Err = ErrUnknownRun
			}
			found = append(found, l)
		}
		turn, got := turnOf(found), ""
		for _, l := range turn.now {
			got += test.found[l.PID : l.PID+1]
		}
		if turn.again {
			got += " again"
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestLifeText: a life is read as it was written.
func TestLifeText(t *testing.T) {
	start, end := process.Moment{Boot: "now", Ticks: 99}, process.Moment{Boot: "now", Ticks: 1 << 40}
	if l, ok := parseLife(lifeText(start, end)); !ok || l != (life{"now", 99, 1 << 40}) {
		t.Errorf("%+v, %v", l, ok)
	}
	for _, line := range []string{"", "now 1", "now 1 x", "now 1 2 3"} {
		if l, ok := parseLife(line); ok {
			t.Errorf("%q: %+v", line, l)
		}
	}
}
