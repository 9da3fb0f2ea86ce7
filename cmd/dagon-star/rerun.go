package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/userfile"
	"github.com/dagon-star/dagon-star/script"
)

// runsHelp tells what RUN is.
const runsHelp = `
RUN is a run's folder, or the name of one in --runs-dir; "latest" is the last.
`

const rerunMore = runsHelp + `It may be a recipe.json alone, too.

Script, loaded files and ini are those of the recipe, also where the files have
changed or are gone; so are the test, the parameters, the seed and the settings.
The programs and data files that the ini names are used as they are now. Notes
tell what has changed.

Relative names begin in the present folder, as those of the run did in its own: a
run of another checkout, or another machine, is run again where the same files
are in the same places. Where they are not, but are where the run was, they begin
there.

The run that is made has a recipe of its own, which the line that it ends with
repeats. "dagon-star diff" tells whether it did the same.

Examples:
  dagon-star rerun latest
  dagon-star rerun runs/20261124-111309-default --seed 8
`

func runRerun(c command) int {
	f := newFlags(c, "rerun", "RUN [FLAG...]", rerunMore)
	seed := f.String("seed", "", "another seed than the recipe's")
	contain := f.String("contain", "", "another containment than the recipe asks for: auto, sealed, cgroup or supervised")
	runs := runsDir(f)
	quiet := f.BoolP("quiet", "q", false, "print nothing but what keeps the run from passing")
	asJSON := f.Bool("json", false, "print the event log instead, a JSON object a line")
	plainFlag(f, &c)
	hold := holdFlags(f)
	if code, done := parse(c, f, 1, 1); done {
		return code
	}
	name, err := findRun(f.Arg(0), *runs, script.RecipeName)
	if err != nil {
		return c.mistake(f, err)
	}
	recipe, err := script.ReadRecipe(name)
	if err != nil {
		return c.mistake(f, err)
	}
	config, err := recipe.Config()
	if err != nil {
		return c.mistake(f, err)
	}
	if code := parseSeed(c, f, *seed, &config); code != exitPassed {
		return code
	}
	if *contain != "" {
		config.Contain = *contain
	}
	config.RunsDir = *runs
	config.Argv = append([]string{"dagon-star", "rerun"}, c.args...)
	return c.execute(config, shows{*quiet, *asJSON, hold}, func(_ uint64, folder string) []string {
		return append([]string{"rerun", relative(folder)}, flagsGiven(f, script.Config{})...)
	})
}

func runsDir(f *pflag.FlagSet) *string {
	return f.String("runs-dir", "runs", "where the folders of runs are")
}

// findRun finds a file of a run: that of its folder, or the file itself.
func findRun(run, runs, file string) (string, error) {
	for _, folder := range []string{run, filepath.Join(runs, run)} {
		info, err := os.Stat(folder)
		switch {
		case err != nil:
			continue
		case !info.IsDir():
			return folder, nil
		}
		if path, err := filepath.EvalSymlinks(folder); err == nil { // latest is another one soon
			folder = path
		}
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			return "", fmt.Errorf("%s is no run's folder, or that of one that was killed before it began: it has no %s", folder, file)
		}
		return filepath.Join(folder, file), nil
	}
	return "", fmt.Errorf("there is no run %s, and none of that name in %s", run, runs)
}

const diffMore = runsHelp + `
Tells in what the recipes of the two runs differ; whether both had the same faults
on the same nodes in the same order, and whether they reached the same ones, or the
first that differs; and the verdicts.
In which order nodes did what is not looked at, for no run promises one. Where the
faults are the same, it tells of the nodes that did not come to the same end by the
same states, which is for your information alone; so is on what machine they ran.
The log of a run that was killed is taken as far as it goes.

Exit codes: 0 the same recipe, faults and verdict, 1 different, 2 a run that cannot
be read.

Examples:
  dagon-star diff runs/20261124-111309-default latest
`

func runDiff(c command) int {
	f := newFlags(c, "diff", "RUN RUN [FLAG...]", diffMore)
	runs := runsDir(f)
	if code, done := parse(c, f, 2, 2); done {
		return code
	}
	var recipes [2]*script.Recipe
	var logs [2]*report.Log
	for i := range recipes {
		var folder string
		var err error
		if recipes[i], logs[i], folder, err = readRun(f.Arg(i), *runs); err != nil {
			fmt.Fprintf(c.stderr, "dagon-star diff: %v\n", err)
			return exitMistake
		}
		fmt.Fprintf(c.stdout, "%s: %s\n", side(i), relative(folder))
	}
	d := differ{command: c, same: true}
	d.recipes(recipes[0].Compare(recipes[1]))
	d.logs(report.Compare(logs[0], logs[1]), logs)
	if !d.same {
		return 1
	}
	return exitPassed
}

func side(i int) string { return string(rune('a' + i)) }

// readRun reads what there is of a run. What follows the last whole line of its
// log is left out.
func readRun(run, runs string) (recipe *script.Recipe, log *report.Log, folder string, err error) {
	name, err := findRun(run, runs, "events.jsonl")
	if err != nil {
		return nil, nil, "", err
	}
	folder = filepath.Dir(name)
	if recipe, err = script.ReadRecipe(folder); err != nil {
		return nil, nil, "", err
	}
	file, _, err := userfile.Open(filepath.Join(folder, "events.jsonl"))
	if err != nil {
		return nil, nil, "", err
	}
	defer file.Close()
	if log, err = report.Read(event.All(file)); err != nil {
		return nil, nil, "", fmt.Errorf("%s: %w", folder, err)
	}
	return recipe, log, folder, nil
}

// differ prints where two runs differ.
type differ struct {
	command
	same bool
}

func (d *differ) say(format string, args ...any) { fmt.Fprintf(d.stdout, format+"\n", args...) }

// sides prints what the two have, "" for nothing.
func (d *differ) sides(a, b string) {
	for i, text := range []string{a, b} {
		if text == "" {
			text = "none"
		}
		d.say("    %s: %s", side(i), text)
	}
}

func (d *differ) recipes(all []script.RecipeDifference) {
	title := "recipes: different"
	if len(all) == 0 || all[0].Aside {
		title = "recipes: the same"
	} else {
		d.same = false
	}
	d.say("\n%s", title)
	for _, one := range all {
		what := one.What
		if one.Aside {
			what = "beside them, " + what
		}
		d.say("  %s", what)
		d.sides(one.A, one.B)
	}
}

func (d *differ) logs(c report.Comparison, logs [2]*report.Log) {
	d.same = d.same && c.Same()
	switch {
	case c.Fault == nil && c.Faults == 0:
		d.say("\nfaults: none")
	case c.Fault == nil:
		d.say("\nfaults: %d, the same in the same order, and they reached the same nodes", c.Faults)
	default:
		d.say("\nfaults: different; the first that differs is number %d", c.Fault.Index+1)
		var texts [2]string
		for i, f := range c.Fault.Sides {
			switch {
			case f != nil:
				texts[i] = fmt.Sprintf("event %d at %.3fs: %s", f.Seq, f.T.Seconds(), f.Title())
				if outcome := f.Outcome(); outcome != "" {
					texts[i] += ": " + outcome
				}
			case logs[i].Finished:
				texts[i] = "the run had no more"
			default:
				texts[i] = "the run had not come to its end"
			}
		}
		d.sides(texts[0], texts[1])
	}
	if len(c.Nodes) > 0 {
		first := c.Nodes[0]
		more := ""
		if n := len(c.Nodes) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more nodes)", n)
		}
		d.say("\nnodes: %s did not go the same way%s; it was in step for %d", first.Node, more, first.Index)
		var texts [2]string
		for i, e := range first.Sides {
			if e != nil {
				texts[i] = fmt.Sprintf("event %d at %.3fs: %s", e.Seq, e.T.Seconds(), report.Step(*e))
			}
		}
		d.sides(texts[0], texts[1])
	}
	var texts [2]string
	for i, v := range c.Verdicts {
		if v == nil {
			continue
		}
		texts[i] = v.Outcome
		if v.Where != "" {
			texts[i] += " at " + v.Where
		}
		if v.Reason != "" {
			texts[i] += ": " + v.Reason
		}
	}
	d.say("\nverdicts")
	d.sides(texts[0], texts[1])
}
