package builtins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/script"
)

// recorded is the start of a script that has the path of a file of records as
// file: a, b, c and d, and one that is being written.
func recorded(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "received.txt")
	if err := os.WriteFile(file, []byte("5, a\n6, b\n7, \"c\\n\"\n8, d\n9, is bei"), 0o644); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("file = %q\n", file)
}

// TestRecords: records are a sequence like any other.
func TestRecords(t *testing.T) {
	passes(t, recorded(t)+`
rs = records(file)
assert.eq([r.payload for r in rs], ["a", "b", "c\n", "d"])
assert.eq([rs[0].time_us, rs[-1].payload, len(rs), bool(rs), bool(rs[:0])], [5, "d", 4, True, False])
assert.eq([r.payload for r in rs[1:3]], ["b", "c\n"])
assert.eq([r.payload for r in rs[::-2]], ["d", "b"])
assert.eq([r.payload for r in rs[:1] + rs[3:]], ["a", "d"])
assert.eq([r.payload for r in reversed(rs)], ["d", "c\n", "b", "a"])
assert.eq(sorted(rs, key = lambda r: -r.time_us)[0], rs[3])
assert.eq([type(rs), type(rs[0]), dir(rs[0])], ["records", "record", ["payload", "time_us"]])
assert.eq(json.encode(rs[:1]), '[{"payload":"a","time_us":5}]')
assert.fails(lambda: rs[4], "out of range")
assert.fails(lambda: rs[0].paylod, "did you mean .payload")
assert.fails(lambda: sorted(rs), "records have no order")
assert.fails(lambda: rs - rs, "unknown binary op: records - records")
assert.fails(lambda: {rs: 1}, "unhashable: records")

# With lists they make lists.
assert.eq([type(rs + [1]), type([1] + rs), ([1] + rs)[4].payload, (rs + [1])[4]], ["list", "list", "d", 1])

# They are equal to records, and where they are asserted to be, to lists.
assert.eq(rs, records(file))
assert.ne(rs, rs[1:])
assert.eq(rs[:0], [])
assert.eq([rs[1]], rs[1:2])
assert.ne(rs, [])
assert.true(rs == records(file) and rs[0] == records(file)[0] and rs[0] != rs[1])
assert.fails(lambda: rs < rs, "records have no order: < is not defined")
assert.eq({rs[0]: 1}[records(file)[0]], 1)
assert.contains(rs, "c\n")
assert.contains(rs, rs[1])
assert.eq(["x" in rs, 5 in rs, records(file)[3] in rs[:3]], [False, False, False])

# Their text is short.
assert.eq(str(rs[2]), 'record(payload = "c\\n", time_us = 7)')
assert.eq(str(rs[:2]), '[record(payload = "a", time_us = 5), record(payload = "b", time_us = 6)]')
many = rs
for _ in range(12):
    many = many + many
assert.eq(len(many), 4 << 12)
assert.lt(len(str(many)), 600)
assert.lt(len(catch(assert.eq, many, 1).message), 600)
`)
}

// TestChecks: what the comparisons take, and what they say.
func TestChecks(t *testing.T) {
	passes(t, recorded(t)+`
rs = records(file)
texts = ["a", "b", "c\n", "d"]
def says(want, fn, *args):
    e = catch(fn, *args)
    assert.eq(e and e.kind, "fail")
    assert.eq(e.message, want)
def wrong(pattern, fn, *args):
    e = catch(fn, *args)
    assert.eq(e and e.kind, "error")
    assert.contains(e.message, pattern)

for received in (rs, list(rs), texts, tuple(texts), set(texts), {t: 1 for t in texts}, list(rs[:2]) + texts[2:], rs[:2] + rs[2:]):
    check_same(rs, received)
    check_same(received, rs, ordered = True)
    check_subset(received, rs)
    check_no_duplicates(received)

# A record keeps its place wherever the script puts it.
last = "received.txt:4, at 1970-01-01T00:00:00.000008Z)"
assert.contains(catch(check_same, texts[:3], [r for r in rs if r.payload != "a"]).message, last)
assert.contains(catch(check_no_duplicates, ["d"] + list(rs)).message, '1 of 5 records is a duplicate: "d" (')
assert.contains(catch(check_no_duplicates, ["d"] + list(rs)).message, ", and before it number 1)")
says('check_same: received is not the same as sent: 1 of 2 records; 1 missing: "y" (number 2); none extra', check_same, ["x", "y"], ["x"])
says('check_same: why: received is not in the order of sent: "x" was sent (number 1) and "y" was received (number 1)',
    lambda: check_same(["x", "y"], ["y", "x"], ordered = True, message = "why"))
says('check_subset: part is not in whole: 1 of its 2 records is not among the 1; 1 duplicated: "x" (number 2)',
    check_subset, ["x", "x"], ["x"])
says('check_no_duplicates: why: 1 of 2 records is a duplicate: "x" (number 2, and before it number 1)',
    check_no_duplicates, ["x", "x"], "why")

# transform says what is expected for each that was sent.
check_same(["1", "2"], ["2", "4"], transform = lambda p: str(2 * int(p)), ordered = True)
check_same(["a b", "", "c"], ["a", "b", "c"], transform = lambda p: p.split(), ordered = True)
check_same(["a"], ["A"], lambda p: (p.upper(),))
check_subset(["A"], ["a", "b"], lambda p: p.upper())
check_same(["a"], ["a"], transform = None)
says('check_same: received is not the same as sent: 1 of 2 records; 1 missing: "b" (number 1); none extra',
    check_same, ["a b"], ["a"], lambda p: p.split())
wrong("check_same: for parameter transform: it returned int for \"a\", want a string or a list of strings", check_same, ["a"], ["a"], len)
wrong("it returned list with NoneType for \"a\"", check_same, ["a"], ["a"], lambda p: [None])
wrong("it returned NoneType", check_same, ["a"], ["a"], lambda p: None)
wrong("check_same: for parameter transform: got string", check_same, ["a"], ["a"], "upper")
assert.contains(catch(check_same, ["a"], ["a"], lambda p: int(p)).message, "invalid literal")

# What is neither records nor strings.
want = ", want what records() returns, or a list of records or of strings"
wrong("check_same: for parameter sent: got string" + want, check_same, "x", ["x"])
wrong("check_same: for parameter received: got NoneType" + want, check_same, ["x"], None)
wrong("check_subset: for parameter whole: got list with int at 1" + want, check_subset, ["x"], ["x", 1])
wrong("check_no_duplicates: for parameter records: got range with int at 0" + want, check_no_duplicates, range(1 << 50))
wrong("for parameter sent: got list with records at 0", check_same, [rs], rs)
`)
}

// TestSoftCheck: a comparison can be recorded and gone on from.
func TestSoftCheck(t *testing.T) {
	r, out := run(t, script.Config{Source: []byte(`
check_same(["x"], [], soft = True)
check_subset(["x"], [], message = "why", soft = True)
check_no_duplicates([], soft = True)
print("end")
`)})
	const want = `2 soft failures:
  script.star:2:11: received is not the same as sent: 0 of 1 record; 1 missing: "x" (number 1); none extra
  script.star:3:13: why: part is not in whole: 1 of its 1 record is not among the 0; 1 extra: "x" (number 1)`
	if r.Outcome != runtime.Failed || r.Reason != want || len(out) < 4 || out[len(out)-4:] != "end\n" {
		t.Errorf("%s: %s; it printed %q", r.Outcome, r.Reason, out)
	}
}
