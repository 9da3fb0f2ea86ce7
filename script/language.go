package script

// Language tells a Python user what is different in Starlark.
const Language = `Scripts are Starlark, a small language with Python's syntax. What is different:

  functions      cannot rebind a global: there is no "global" statement. They may
                 change a global list, dict or set (done.append(1)), and the top
                 level of a script may rebind its own globals.
  errors         there is no try, raise or with: an error ends the run as failed.
                 catch(fn, *args) calls fn and returns its error, or None;
                 assert.fails(fn, pattern) expects one; defer(fn, *args) cleans up.
  no             classes, generators, imports, "is", "while ... else", chained
                 comparisons (1 < x < 5), sets written {1, 2} (use set([1, 2])).
  switched on    while, set(), for and if at the top level, recursion, rebinding
                 globals at the top level.
  strings        are not iterable: use "abc".elems(). There are no f-strings: use
                 "%s is %d" % (x, n) or "{} is {}".format(x, n).
  numbers        / always gives a float, // an int; ints have no limit.
  load           load("lib.star", "f", g = "h") takes f, and h under the name g,
                 from a file beside this one, or a shipped one, such as the clients
                 systems/redis.star, etcd.star, postgres.star and beanstalkd.star
                 there; each file is run once. So load is no name for a
                 variable.
  frozen         all that the run gives a script, and the globals of files that
                 are loaded, cannot be changed. A script's own globals can, by all
                 of its tasks.
  tasks          spawn, after and every start tasks, of which exactly one runs at
                 a time; another goes on only where this one waits in a builtin.
                 One that computes, such as sorted, does not wait.
  durations      are a number of seconds, "250ms", or a time.duration, everywhere.
`
