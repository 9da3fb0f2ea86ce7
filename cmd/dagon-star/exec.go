package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

const execMore = runsHelp + `Without --run it is the latest.

Runs a command beside a node of a run that is under way, such as one that is held
by --hold-on-failure: in the node's folder, with its DAGON_* variables and those
of its section, as its user, as the builtin exec does. Placeholders in its words,
such as <SELF:http> or <other:http:port>, are filled in; quote them for your shell.
What it reads and writes is your terminal.

It is beside the node, not in it: at the rungs of containment that give nodes
namespaces, it has those of your terminal. It belongs to your terminal and ends by
itself; what is left of it when the run has ended, the next run's sweep kills, as
all that a run has left.

Exit code: that of the command; 2 where it was not started.

Examples:
  dagon-star exec redis redis-cli -h '<SELF>' info
  dagon-star exec --run runs/20261124-111309-default worker-1 sh
  dagon-star exec leader sh -c 'ls -l; curl -s http://<SELF:http>/health'
`

func runExec(c command) int {
	f := newFlags(c, "exec", "[--run RUN] NODE CMD...", execMore)
	f.SetInterspersed(false) // what follows NODE is the command's
	name := f.String("run", "latest", "the run")
	runs := runsDir(f)
	if code, done := parse(c, f, 2, 1<<20); done {
		return code
	}
	recipe, err := findRun(*name, *runs, script.RecipeName)
	if err != nil {
		return c.mistake(f, err)
	}
	beside, err := besideNode(recipe, f.Arg(0), f.Args()[1:])
	if errors.Is(err, runtime.ErrOver) {
		err = fmt.Errorf("%s is over: a command is run beside a node of a run that is under way, such as one with --hold-on-failure",
			relative(filepath.Dir(recipe)))
	}
	if err == nil {
		err = become(beside)
	}
	return c.mistake(f, err)
}

// besideNode is what a command is started as beside a node of the run of a recipe.
func besideNode(name, node string, argv []string) (*runtime.Beside, error) {
	recipe, err := script.ReadRecipe(name)
	if err != nil {
		return nil, err
	}
	topology, err := recipe.ParseTopology()
	if err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return runtime.CommandBeside(filepath.Dir(name), topology, own, node, os.Environ(), runtime.Command{Argv: argv})
}

// become has a command take the place of this process. It returns only an error.
func become(b *runtime.Beside) error {
	program, err := process.LookPath(b.Argv[0], b.Dir(), b.Env())
	if err != nil {
		return err
	}
	if err := os.Chdir(b.Dir()); err != nil {
		return err
	}
	return replaceBy(program, b)
}
