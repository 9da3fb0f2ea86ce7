package script

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// variant is a test of a whole script: its parameters, and the verdict that the run is
// to come to with them.
type variant struct {
	params   map[string]string
	expected verdict.Expected
	at       syntax.Position // of the table
}

// readVariants reads verdicts, the table of a script without test functions.
func (p *plan) readVariants() {
	if p.main.file == nil {
		return
	}
	at, table := p.constant("verdicts")
	if table == nil {
		return
	}
	if functions, _ := p.testFunctions(); len(functions) > 0 {
		p.mistake(at, "verdicts is of runs of the whole script, and %s is a test of its own: take one of them away", functions[0].name.Name)
		return
	}
	dict, isDict := table.(*starlark.Dict)
	if !isDict || dict.Len() == 0 {
		p.mistake(at, "verdicts is %s: a dict was expected, from parameters such as \"size=5\" to a verdict such as \"passed\"", table)
		return
	}
	for _, item := range dict.Items() {
		given, isText := starlark.AsString(item[0])
		want, isWant := starlark.AsString(item[1])
		v := &variant{params: map[string]string{}, at: at}
		var err error
		if v.expected, err = verdict.ParseExpected(want); err != nil || !isText || !isWant {
			p.mistake(at, "verdicts has %s: %s, and parameters and a verdict were expected, such as \"size=5\": \"failed: lost\" (%v)",
				item[0], item[1], err)
			continue
		}
		for _, word := range strings.Fields(given) {
			name, value, isParam := strings.Cut(word, "=")
			if !isParam {
				p.mistake(at, "verdicts has the parameters %s: NAME=VALUE was expected, with spaces between", item[0])
			}
			v.params[name] = value
		}
		p.variants = append(p.variants, test{name: "[" + topology.Brief(given, maxLabel) + "]", variant: v})
	}
}

// MissingProgramError is a program that a script requires, and that is not there.
type MissingProgramError struct{ Program string }

func (e *MissingProgramError) Error() string {
	return fmt.Sprintf("this machine has no %s, which the script requires: install it, or put its folder into PATH", e.Program)
}

// checkRequires finds which programs that the script requires are not there. That one
// of them is missing is told once, and not of each section that runs it.
func (p *plan) checkRequires() {
	if p.main.file == nil {
		return
	}
	at, table := p.constant("requires")
	if table == nil {
		return
	}
	list, isList := table.(*starlark.List)
	if !isList {
		p.mistake(at, "requires is a %s: a list of programs was expected", table.Type())
		return
	}
	env := append(os.Environ(), "PATH="+topology.ServerPath(os.Getenv("PATH")))
	for element := range list.Elements() {
		program, isText := starlark.AsString(element)
		if !isText {
			p.mistake(at, "requires has %s: the name of a program was expected", element)
			continue
		}
		if _, err := lookPath(program, "", env); err == nil {
			continue
		}
		p.mistakes = slices.DeleteFunc(p.mistakes, func(m Mistake) bool {
			var start *process.StartError
			told := errors.As(m.Err, &start) && start.Program == program
			if told {
				p.count[m.File]--
			}
			return told
		})
		missing := &MissingProgramError{program}
		p.add(Mistake{File: p.main.name, Line: int(at.Line), Col: int(at.Col), Text: missing.Error(), Err: missing})
	}
}

// params are those of the run: what was given, and in its place what the variant has.
func (p *plan) params() map[string]string {
	if p.test == nil || p.test.variant == nil {
		return p.config.Params
	}
	params := map[string]string{}
	maps.Copy(params, p.config.Params)
	maps.Copy(params, p.test.variant.params)
	return params
}
