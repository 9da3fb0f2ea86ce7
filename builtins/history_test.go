package builtins_test

import "testing"

// TestOperations: operations are a sequence like any other, which can be printed,
// compared and added.
func TestOperations(t *testing.T) {
	passes(t, `
read = op("read", lambda: 5, key = "k")
add = op("add", lambda: None, value = {"a": [1, "b"]})
assert.eq([o.f for o in ops()], ["read", "add"])
assert.eq([type(ops()), type(ops()[0]), len(ops()), bool(ops()), bool(ops("x"))], ["operations", "operation", 2, True, False])

# Their text is that of a list, also within others, and short.
text = 'operation(index = 0, process = 0, f = "read", value = 5, outcome = "ok")'
assert.eq([str(read), str(ops("read"))], [text, "[" + text + "]"])
assert.eq(str([ops("read")]), "[[" + text + "]]")
print(ops(), [ops()], ops()[0])
assert.true(len(str([ops()] * 100)) < 100 * 600)

# They are equal to operations, and where they are asserted to be, to lists.
assert.true(ops() == ops() and ops("read") != ops("add"))
assert.eq(ops(), ops())
assert.ne(ops(), ops("read"))
assert.eq(ops(outcome = "info"), [])
assert.eq([read], ops("read"))
assert.ne(ops(), [])
assert.fails(lambda: assert.eq(ops("read"), []), "operation.* != \\[\\]")
assert.fails(lambda: ops() < ops(), "operations have no order: < is not defined")
assert.fails(lambda: {ops(): 1}, "unhashable: operations")
assert.fails(lambda: ops()[2], "out of range")
assert.fails(lambda: ops() - ops(), "unknown binary op: operations - operations")
assert.true(read in ops() and read not in ops("add") and 5 not in ops())
assert.contains(ops(), add)

# With lists they make lists.
assert.eq([o.f for o in ops("add") + ops("read")], ["add", "read"])
assert.eq([type(ops() + [1]), type([1] + ops()), ([1] + ops())[2], ops()[::-1][0]], ["list", "list", add, add])
`)
}

// TestOneKey: a checker that knows no keys is given the operations of one, as they are or
// in a list.
func TestOneKey(t *testing.T) {
	passes(t, `
op("add", lambda: None, value = 1, key = "a")
op("add", lambda: None, value = 2, key = "b")
op("read", lambda: [1], key = "a")
for given in [ops(), list(ops())]:
    for check_of in [check_set, check_set_full, check_queue]:
        assert.fails(lambda: check_of(given), 'operations on the keys "a" and "b", want those of one')
check_set(ops(key = "a"))
check_set([o for o in ops() if o.key == "a"])
`)
}

// TestInOrder: lists of operations that a script has put together are checked as they
// happened, each once.
func TestInOrder(t *testing.T) {
	passes(t, `
for i in range(3):
    op("write", lambda: None, value = i)
    op("read", lambda: i)
assert.eq(check_sessions(ops("read") + ops("write") + ops("read")).verdict, "valid")
`)
}
