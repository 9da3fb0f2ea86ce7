package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/userfile"
	"github.com/dagon-star/dagon-star/scenarios"
	"github.com/dagon-star/dagon-star/script"
)

// scriptsIn are the scripts that paths name, those of folders in the order of
// their names; not those in the folder of the runs, or in hidden ones.
func scriptsIn(paths []string, runs string) (files []string, err error) {
	for _, path := range paths {
		if filepath.Ext(path) == ".ini" {
			return nil, fmt.Errorf("dagon-star test: %s is an ini, and a script was expected in its place: --topology %[1]s "+
				"has it be that of every script", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			if shipped := shippedIn(path); len(shipped) > 0 {
				files = append(files, shipped...)
				continue
			}
		}
		if err != nil || !info.IsDir() { // it may be a shipped one, or Tests says what is wrong
			files = append(files, path)
			continue
		}
		found := len(files)
		err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && name != path && (strings.HasPrefix(d.Name(), ".") || name == filepath.Clean(runs)):
				return filepath.SkipDir
			case !d.IsDir() && filepath.Ext(name) == ".star":
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(files) == found {
			return nil, fmt.Errorf("dagon-star test: there is no script in %s: files *.star were expected", path)
		}
	}
	return files, nil
}

// shippedIn are the shipped scripts in a shipped folder, such as "systems".
func shippedIn(folder string) (files []string) {
	for _, name := range scenarios.Names() {
		if strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/") && filepath.Ext(name) == ".star" {
			files = append(files, name)
		}
	}
	return files
}

// lastTime reads the summary that --rerun-failed takes up, unless other flags say
// which tests are to be run, or with which seeds: it does.
func lastTime(f *pflag.FlagSet, record string) (last report.Summary, err error) {
	if f.NArg() > 0 {
		return last, fmt.Errorf("dagon-star test: --rerun-failed takes the scripts from the last time, and %s was given: "+
			"give no PATH, or leave the flag out", f.Arg(0))
	}
	for _, name := range []string{"run", "repeat", "shuffle", "seed"} {
		if f.Changed(name) {
			return last, fmt.Errorf("dagon-star test: --rerun-failed runs those that failed the last time as they were, and "+
				"--%s was given: leave one of both out", name)
		}
	}
	data, err := userfile.Read(record, maxSummary)
	if err != nil {
		return last, fmt.Errorf("dagon-star test: --rerun-failed: %w; it is written by each dagon-star test", err)
	}
	if err := exact.Unmarshal(data, &last); err != nil || last.Format != report.SummaryFormat {
		return last, fmt.Errorf("dagon-star test: --rerun-failed: %s is not a summary of format %d", record, report.SummaryFormat)
	}
	return last, nil
}

// failed are the tests that did not pass the last time, those that were not run
// included.
func failed(last report.Summary) (planned []testRun, err error) {
	for _, t := range last.Tests {
		if t.Outcome != string(runtime.Passed) && t.Outcome != report.Skipped {
			planned = append(planned, testRun{t.File, t.Name, t.Seed, t.Source, t.Line})
		}
	}
	if len(planned) == 0 {
		return nil, fmt.Errorf("dagon-star test: --rerun-failed: the last time, %s, no test failed", last.StartedAt.Format(time.DateTime))
	}
	return planned, nil
}

// flagsGiven are the flags that change what a test's run does, as they were
// given.
func flagsGiven(f *pflag.FlagSet, c script.Config) (args []string) {
	other := []string{"seed", "run", "repeat", "parallel", "shuffle", "fail-fast", "rerun-failed", "junit", "json", "verbose", "plain", "param",
		"hold-on-failure", "hold-timeout"}
	f.Visit(func(flag *pflag.Flag) {
		if !slices.Contains(other, flag.Name) {
			args = append(args, "--"+flag.Name+"="+flag.Value.String())
		}
	})
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		args = append(args, "--param", name+"="+c.Params[name])
	}
	return args
}

// maxSummary bounds the summary that is read back, in bytes.
const maxSummary = 256 << 20
