package builtins

import (
	"fmt"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// callSite is a call of a builtin that a task is in, for who has to say where a script was
// that did not come back.
type callSite struct {
	of   string // the type whose method it is, or ""
	name string
	at   syntax.Position // of the call; that of a builtin where no file has made it
	by   string          // the place that spawned the task
}

// call is the builtin's name, such as "max" or "list.extend".
func (s *callSite) call() string {
	if s.of == "" {
		return s.name
	}
	return s.of + "." + s.name
}

// place is where a script made the call, or spawned the task that did; "" for nil.
func (s *callSite) place() string {
	if s == nil {
		return ""
	}
	if s.at.Filename() == builtinFile {
		return s.by
	}
	return s.at.String()
}

// builtinFile is the file of a frame that is a builtin's.
const builtinFile = "<builtin>"

// enter says that the task is in a call of a builtin, until what it returns is called.
func (t *scriptTask) enter(thread *starlark.Thread, of, name string) (leave func()) {
	outer := t.calls.Load()
	site := &callSite{of: of, name: name, by: t.at, at: thread.CallFrame(0).Pos}
	for depth := 1; depth < thread.CallStackDepth() && site.at.Filename() == builtinFile; depth++ {
		site.at = thread.CallFrame(depth).Pos
	}
	t.calls.Store(site)
	t.host.here.Store(site)
	return func() {
		if t.phase.ctx.Err() != nil {
			t.in.CompareAndSwap(nil, site)
		}
		t.calls.Store(outer)
		t.last.Store(site)
	}
}

// maxMade is how many elements a builtin of the language may be given. A list of so many
// takes a GiB; a range has any number of them, and takes nothing.
const maxMade = 1 << 26

// bounded makes a builtin of the language one that refuses what memory cannot hold: to run
// out of it ends the program, the nodes of the run without a verdict among it.
func bounded(b *starlark.Builtin) *starlark.Builtin {
	switch b.Name() {
	case "bytes", "dict", "enumerate", "list", "reversed", "set", "sorted", "tuple", "zip":
	default:
		return b
	}
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		for _, arg := range args {
			if _, ok := arg.(starlark.Iterable); !ok {
				continue
			}
			if n := starlark.Len(arg); n > maxMade {
				return nil, fmt.Errorf("%s: %s has %d elements, want at most %d", b.Name(), arg.Type(), n, maxMade)
			}
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// told makes a builtin of the language, or of an embedder, one that tells the task that
// it is in it. of is the type whose method it is, or "".
//
// The task keeps its turn however long the call takes. Others could change the values that
// the call goes through, as these have no locks; and where nobody can change them, whether
// others went on would depend on how fast the machine is, and so would the order of what
// tasks do, which the seed alone is to settle.
func told(of, name string, b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		if _, t, err := hostOf(thread); err == nil {
			defer t.enter(thread, of, name)()
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// Told is the name of the function through which a script calls what may be the method of a
// value, or the function of a module: x.f(y) is compiled as Told(x.f)(y), so that the task
// knows that it is in that call too. No text of a script can have the name.
const Told = "(told)"

func methodTold() *starlark.Builtin {
	return starlark.NewBuiltin(Told, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		_ []starlark.Tuple) (starlark.Value, error) {
		return toldMethod(args[0]), nil
	})
}

// toldMethod makes a method of a value, or a function of a module, one that tells the task
// that it is in it. Other values stay as they are.
func toldMethod(v starlark.Value) starlark.Value {
	b, ok := v.(*starlark.Builtin)
	if !ok {
		return v
	}
	of := ""
	if receiver := b.Receiver(); receiver != nil {
		of = receiver.Type()
	}
	return told(of, b.Name(), b)
}
