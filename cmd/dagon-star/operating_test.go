//go:build unix

package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// operate tells of operations on systems of its own, as a component of a user does: of
// one whose processes come to each outcome, and of a register that four processes use.
func operate(home *component.Home) {
	do := func(process, f string, key, value any) *component.Operation {
		o, err := home.Invoke(process, f, key, value)
		if err != nil {
			panic(err)
		}
		return o
	}
	do("p", "write", "x", int32(1)).OK(nil)
	do("p", "read", "x", nil).OK(int32(1))
	do("p", "write", "x", int32(2)).Fail(errors.New("no leader"))
	do("p", "write", "x", int32(3)).Info(errors.New("no answer"))
	do("p", "read", "x", nil).OK(int32(1))
	do("q", "txn", nil, osc.Array{osc.Array{"append", "k", int64(1 << 40)}, osc.Array{"r", "k", nil}}).OK(osc.Array{true, 1.5, ""})

	var register atomic.Int64
	var all sync.WaitGroup
	for n := range int64(4) {
		all.Go(func() {
			process := fmt.Sprint("load ", n)
			for i := range int64(200) {
				if i%2 == 0 {
					o := do(process, "write", "r", n<<32|i)
					register.Store(n<<32 | i)
					o.OK(nil)
				} else {
					o := do(process, "read", "r", nil)
					v := register.Load()
					o.OK(v)
				}
			}
		})
	}
	all.Wait()
	do("q", "write", "open", int32(1))
	do("p", "write", "open", int32(2))
	home.Send(osc.NewMessage("/told"))
}

// load does as many operations as it is told to, shared among four processes, as fast as
// it can tell of them.
func load(home *component.Home, operations string) {
	n, err := strconv.Atoi(operations)
	if err != nil {
		panic(err)
	}
	<-home.Started()
	var all sync.WaitGroup
	for p := range 4 {
		all.Go(func() {
			process := fmt.Sprint(p)
			for i := range n / 4 {
				o, err := home.Invoke(process, "write", "x", int64(i))
				if err == nil {
					err = o.OK(nil)
				}
				if err != nil {
					panic(err)
				}
			}
		})
	}
	all.Wait()
	home.Send(osc.NewMessage("/told"))
}
