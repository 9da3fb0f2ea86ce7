package builtins

import (
	"errors"
	"math"
	"slices"

	"go.starlark.net/starlark"
)

func chance() family {
	return family{"chance", "Draw at random, the same for the same seed: every task draws from a stream of its own, which depends on the seed and on its place in the tree of spawns alone.", []builtin{
		{"random.choice", "sequence", "One element of a sequence that is not empty. Example: send(random.choice(workers), \"/poke\").", func(c *call) (starlark.Value, error) {
			all, err := c.elements("sequence", 1)
			if err != nil {
				return nil, err
			}
			return all[c.task.random.IntN(len(all))], nil
		}},
		{"random.sample", "sequence, k", "A list of k different elements of a sequence, in random order. Example: random.sample(workers, 2).", func(c *call) (starlark.Value, error) {
			drawn, _, err := c.draw()
			return starlark.NewList(drawn), err
		}},
		{"random.shuffle", "sequence", "A new list of the elements of a sequence, in random order. Example: for node in random.shuffle(workers): shutdown(node).", func(c *call) (starlark.Value, error) {
			all, err := c.elements("sequence", 0)
			return starlark.NewList(c.shuffled(all)), err
		}},
		{"random.uniform", "a, b", "A float between a and b. Example: sleep(random.uniform(0.5, 2)).", func(c *call) (starlark.Value, error) {
			a, err := c.number("a", 0)
			if err != nil {
				return nil, err
			}
			b, err := c.number("b", 0)
			return starlark.Float(a + float64((b-a)*c.task.random.Float64())), err // not fused: the same on every machine
		}},
		{"random.randint", "a, b", "An int from a to b, both included. Example: random.randint(1, 6).", func(c *call) (starlark.Value, error) {
			a, err := c.integer("a", 0, math.MinInt64)
			if err != nil {
				return nil, err
			}
			b, err := c.integer("b", 0, a)
			if err != nil {
				return nil, err
			}
			if n := uint64(b) - uint64(a) + 1; n != 0 {
				return starlark.MakeInt64(a + int64(c.task.random.Uint64N(n))), nil
			}
			return starlark.MakeInt64(int64(c.task.random.Uint64())), nil
		}},
		{"pick.one", "sequence", "A list of one random element. Example: shutdown(pick.one(workers)).", pick(func(n int) int { return 1 })},
		{"pick.minority", "sequence", "A list of random elements, fewer than half of them: as many as a cluster can lose and still have a majority. It is an error where that is none. Example: shutdown(pick.minority(workers)).", pick(func(n int) int { return (n - 1) / 2 })},
		{"pick.majority", "sequence", "A list of random elements, just more than half of them. Example: await_ready(pick.majority(workers)).", pick(func(n int) int { return n/2 + 1 })},
		{"pick.all_but", "sequence, k", "A list of all but k random elements. Example: shutdown(pick.all_but(workers, 1)).", func(c *call) (starlark.Value, error) {
			_, left, err := c.draw()
			return starlark.NewList(left), err
		}},
	}}
}

// elements are the elements of a sequence that has at least so many.
func (c *call) elements(name string, least int) ([]starlark.Value, error) {
	all, err := c.sequence(name)
	if err == nil && len(all) < least {
		err = c.wrong(name, "has %d elements, want at least %d", len(all), least)
	}
	return all, err
}

// draw draws k elements of the sequence.
func (c *call) draw() (drawn, left []starlark.Value, err error) {
	k, err := c.integer("k", 0, 0)
	if err != nil {
		return nil, nil, err
	}
	all, err := c.elements("sequence", int(min(k, math.MaxInt32)))
	if err != nil {
		return nil, nil, err
	}
	all = c.shuffled(all)
	return all[:k:k], all[k:], nil
}

func (c *call) shuffled(all []starlark.Value) []starlark.Value {
	all = slices.Clone(all)
	c.task.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func pick(count func(n int) int) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		all, err := c.elements("sequence", 1)
		if err != nil {
			return nil, err
		}
		n := count(len(all))
		if n == 0 {
			return nil, errors.New("of so few elements none is a minority")
		}
		return starlark.NewList(c.shuffled(all)[:n]), nil
	}
}
