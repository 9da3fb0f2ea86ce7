package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dagon-star/dagon-star/runtime/archive"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

const runsMore = `
Lists the runs of the folder, the newest first. A run is running; or it has come
to its end, and has a verdict; or it is unfinished, as whoever ran it was killed.

--prune removes runs, those that --older, --keep and --size say: at least one of
them. A run that is under way stays whatever they say, and so does what is in the
folder and is no run's. latest leads to the newest run that is left. What cannot
be removed, such as files of another user, is told, and the others go.

An age is a number of days, such as 7d, or a duration; a size a number of bytes,
or such as 500MB or 1GiB.

Exit code: 0; 1 where something could not be removed.

Examples:
  dagon-star runs
  dagon-star runs --json | jq -r 'select(.outcome == "failed").run'
  dagon-star runs --prune --older 7d --size 1GiB --dry-run
  dagon-star runs --prune --keep 20 --failed
`

func runRuns(c command) int {
	var limits archive.Limits
	f := newFlags(c, "runs", "[FLAG...]", runsMore)
	asJSON := f.Bool("json", false, "print a JSON object a run, a line each")
	prune := f.Bool("prune", false, "remove runs")
	f.Var(optional[time.Duration]{&limits.Older, parseAge, "age"}, "older", "with --prune: remove those that began longer ago")
	f.Var(optional[int]{&limits.Keep, parseCount, "number"}, "keep", "with --prune: keep so many, the newest")
	f.Var(optional[int64]{&limits.Size, parseSize, "size"}, "size", "with --prune: keep so many bytes of runs, the newest")
	f.BoolVar(&limits.Failed, "failed", false, "with --prune: keep those that failed or are unfinished, unless they are --older")
	dry := f.Bool("dry-run", false, "with --prune: tell what would be removed, and remove nothing")
	runs := runsDir(f)
	if code, done := parse(c, f, 0, 0); done {
		return code
	}
	limited := limits.Older != nil || limits.Keep != nil || limits.Size != nil
	switch {
	case *prune && !limited:
		return c.mistake(f, errors.New("--prune needs at least one of --older, --keep and --size"))
	case !*prune && (limited || limits.Failed || *dry):
		return c.mistake(f, errors.New("--older, --keep, --size, --failed and --dry-run say what --prune removes: it was not given"))
	}
	all, err := archive.List(*runs)
	if err != nil {
		return c.mistake(f, fmt.Errorf("cannot read the folder of the runs: %w", err))
	}
	if *prune {
		return c.prune(*runs, archive.Choose(all, limits, time.Now()), len(all), *dry)
	}
	if *asJSON {
		for _, r := range all {
			line, err := exact.Marshal(r)
			if err != nil {
				return c.mistake(f, err)
			}
			fmt.Fprintf(harmless{c.rawStdout, report.VisibleJSON}, "%s\n", line)
		}
		return exitPassed
	}
	c.list(all)
	return exitPassed
}

// list prints runs, a line each.
func (c command) list(all []archive.Run) {
	if len(all) == 0 {
		fmt.Fprintln(c.stdout, "no runs")
		return
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "RUN\tVERDICT\tTOOK\tSIZE\tSEED\tSCRIPT\n")
	for _, r := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", line(r.Name), line(verdictOf(r)), seconds(r.DurationS), bytesText(r.Size), r.Seed,
			line(report.Test{File: r.Script, Name: r.Test}.Title()))
	}
	t.Flush()
}

// verdictOf is what a run came to, or how far it is.
func verdictOf(r archive.Run) string {
	switch {
	case r.State == archive.Running:
		return archive.Running
	case r.Outcome != "":
		return r.Outcome
	}
	return archive.Unfinished
}

// prune removes runs, and tells which.
func (c command) prune(runs string, gone []archive.Run, of int, dry bool) int {
	code, removed, size := exitPassed, 0, int64(0)
	for _, r := range gone {
		if !dry {
			if err := archive.Remove(r); err != nil {
				fmt.Fprintf(c.stderr, "dagon-star runs: cannot remove all of %s: %v\n", relative(r.Path), err)
				code = 1
				continue
			}
		}
		removed++
		size += r.Size
		fmt.Fprintf(c.stdout, "%s  %s, %s\n", line(r.Name), verdictOf(r), bytesText(r.Size))
	}
	what := "removed"
	if dry {
		what = "would remove"
	} else if err := archive.Latest(runs); err != nil {
		fmt.Fprintf(c.stderr, "dagon-star runs: latest: %v\n", err)
		code = 1
	}
	fmt.Fprintf(c.stdout, "%s %d of %d runs, %s\n", what, removed, of, bytesText(size))
	return code
}

// optional is a flag of one value that may be left out.
type optional[T any] struct {
	to    **T
	parse func(string) (T, error)
	name  string
}

func (g optional[T]) String() string { return "" }
func (g optional[T]) Type() string   { return g.name }
func (g optional[T]) Set(s string) error {
	v, err := g.parse(s)
	if err == nil {
		*g.to = &v
	}
	return err
}

// parseAge reads a duration, or a number of days, "7d".
func parseAge(s string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(s, "d")
	if !isDays {
		return topology.ParseDuration(s)
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no age: a number of days such as 7d, or a duration such as 12h, was expected", s)
	}
	return topology.Seconds(n * 24 * 60 * 60)
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number of runs: 0 or more was expected", s)
	}
	return n, nil
}

// units are those of sizes, of two letters the longer ones first.
var units = []struct {
	name  string
	bytes float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// parseSize reads a number of bytes, with a unit or without.
func parseSize(s string) (int64, error) {
	number, factor := s, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) || n*factor >= 1<<63 {
		return 0, fmt.Errorf("%q is no size: a number of bytes, or such as 500MB or 1GiB, was expected", s)
	}
	return int64(n * factor), nil
}

// bytesText is a number of bytes as it is shown.
func bytesText(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := units[i]; float64(n) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
