package history_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
)

const ms = time.Millisecond

// did is an operation of a client, which began and ended at these milliseconds.
func did(process int, f string, value, result Value, from, to int) Op {
	return Op{Process: process, Client: fmt.Sprint("c", process), F: f, Value: value, Result: result, Outcome: OK,
		Invoked: time.Duration(from) * ms, Completed: time.Duration(to) * ms}
}

// TestTextOfReads holds what is said of what operations read.
func TestTextOfReads(t *testing.T) {
	counter := Ops{
		did(0, "add", "2", None, 0, 10), did(0, "add", "3", None, 10, 30), did(1, "read", None, "1", 20, 21), did(1, "read", None, "5", 22, 23),
		did(1, "read", None, "6", 40, 41), did(1, "read", None, `"six"`, 42, 43),
	}
	bank := Ops{
		did(0, "read", None, `{"a":50,"b":50}`, 0, 1), did(1, "read", None, `{"a":50,"b":"45"}`, 2, 3), did(1, "read", None, `[105,-5]`, 4, 5),
		did(1, "read", None, `{"a":50,"b":null}`, 6, 7), did(1, "read", None, `[0.1,"99.8"]`, 8, 9),
	}
	set := Ops{
		did(0, "add", "1", None, 0, 10), did(0, "add", "2", None, 11, 20), did(0, "add", "3", None, 30, 31), did(0, "add", "4", None, 50, 61),
		did(1, "read", None, "[1]", 21, 22), did(1, "read", None, "[1,2]", 32, 33), did(1, "read", None, "[2,2,1,3]", 40, 41),
		did(1, "read", None, "[2,3]", 60, 62),
	}
	sessions := Ops{
		did(0, "write", "1", None, 0, 1), did(0, "write", "2", None, 2, 3), did(1, "read", None, "2", 4, 5), did(1, "read", None, "1", 6, 7),
		did(0, "read", None, "1", 8, 9), did(2, "read", None, "1", 10, 11), did(2, "read", None, "7", 12, 13),
	}
	forth := Ops{did(0, "read", None, "1", 0, 1), did(0, "read", None, "2", 2, 3), did(0, "read", None, "1", 4, 5),
		did(0, "read", None, None, 6, 7)}
	for _, c := range []struct {
		r    *Result
		want string
	}{
		{Counter(counter, CounterOptions{}), `3 of 4 reads are out of bounds; 1 too low: "1" (client c1, read where 2 to ` +
			`5 was possible at 0.021000s); 1 too high: "6" (client c1, read where 5 was possible at 0.041000s); 1 no ` +
			`number: "six" (client c1, read where 5 was possible at 0.043000s)`},
		{Counter(counter[:4], CounterOptions{Start: 1}), `1 of 2 reads is out of bounds; 1 too low: "1" (client c1, read ` +
			`where 3 to 6 was possible at 0.021000s)`},
		{Counter(append(counter[:2:2], counter[3]), CounterOptions{}), `1 read is within bounds`},
		{Counter(counter[:2], CounterOptions{}), `no read is ok`},
		{Counter(counter[3:4], CounterOptions{Start: 5}), `no addition is OK`},
		{Counter(Ops{did(0, "add", "1.5", None, 0, 1)}, CounterOptions{}), `"1.5" was added, which is no whole number`},
		{Counter(append(Plain("add", []Value{"9223372036854775807", "1"}, 0), counter[2]), CounterOptions{}),
			`what was added is too large for 64 bits`},
		{Counter(append(Plain("add", []Value{"1", "2"}, 0), Plain("read", []Value{"3", "4"}, 1)...), CounterOptions{}),
			`1 of 2 reads is out of bounds; 1 too high: "4" (number 2, read where 3 was possible)`},
		{Bank(bank, BankOptions{}), `4 of 5 reads are not of a sound bank; 2 wrong total: 95, 99.9; first wrong total ` +
			`"95" (client c1, read instead of 100 at 0.003000s); 1 negative: "-5" (client c1, read of account 2 at ` +
			`0.005000s); 1 no balance: "null" (client c1, read of account b at 0.007000s)`},
		{Bank(bank[:1], BankOptions{Total: "100"}), `1 read sums to 100`},
		{Bank(append(Ops{{F: "transfer", Outcome: Fail}}, bank[:1]...), BankOptions{}), `of 1 transfer none is OK`},
		{Bank(bank, BankOptions{Total: `"all"`}), `the total is "all", which is no number`},
		{Bank(Plain("read", []Value{"[1,2]", "[3,1]"}, 0), BankOptions{}),
			`1 of 2 reads is not of a sound bank; 1 wrong total: "4" (number 2, read instead of 3)`},
		{SetFull(set, SetFullOptions{}), `1 of 4 elements is lost: "1" (client c1, last read at 0.041000s); 2 stale: ` +
			`2–3; first stale "2" (client c1, missing for 0.001000s in a read begun at 0.021000s); 1 duplicated: "2" ` +
			`(client c1, read at 0.041000s); 1 never read: "4" (client c0, acknowledged at 0.061000s)`},
		{SetFull(set[1:], SetFullOptions{Linearizable: true}), `3 elements read are unexpected: 1; first "1" (client c1, ` +
			`read at 0.022000s); 2 stale: 2–3; first stale "2" (client c1, missing for 0.001000s in a read begun at ` +
			`0.021000s); 1 duplicated: "2" (client c1, read at 0.041000s); 1 never read: "4" (client c0, acknowledged at 0.061000s)`},
		{SetFull(set[:5], SetFullOptions{}), `1 of 4 elements is lost: "2" (client c0, acknowledged at 0.020000s); 2 ` +
			`never read: 3–4; first never read "3" (client c0, acknowledged at 0.031000s)`},
		{SetFull(append(set[:7:7], did(1, "read", None, "[1,2,3]", 50, 51)), SetFullOptions{}),
			`3 of 4 elements were read and stayed, half within 0.001000s, 99% within 0.001000s, all within 0.001000s; 2 ` +
				`stale: 2–3; first stale "2" (client c1, missing for 0.001000s in a read begun at 0.021000s); 1 duplicated: ` +
				`"2" (client c1, read at 0.041000s); 1 never read: "4" (client c0, acknowledged at 0.061000s)`},
		{SetFull(append(set[:7:7], did(1, "read", None, "[1,2,3]", 50, 51)), SetFullOptions{Linearizable: true}),
			`2 of 4 elements are stale: 2–3; first "2" (client c1, missing for 0.001000s in a read begun at 0.021000s); 1 ` +
				`duplicated: "2" (client c1, read at 0.041000s); 1 never read: "4" (client c0, acknowledged at 0.061000s)`},
		{SetFull(set[:3], SetFullOptions{}), `no read is ok`},
		{SetFull(append(Ops{{F: "add", Value: "9", Outcome: Fail}}, did(1, "read", None, "[9]", 1, 2)), SetFullOptions{}),
			`1 element read is of an attempt that failed: "9" (client c1, read at 0.002000s)`},
		{Sessions(Ops{{F: "write", Value: "9", Outcome: Fail}, did(1, "read", None, "9", 1, 2)}, SessionsOptions{}),
			`1 of 1 read is not of a session; 1 failed but read: "9" (client c1, read at 0.002000s)`},
		{Sessions(sessions, SessionsOptions{}), `3 of 5 reads are not of a session; 1 against read your writes: "1" (client c0, read after ` +
			`"2" at 0.009000s); 1 against monotonic writes: "1" (client c1, read after "2" at 0.007000s); 1 unexpected: "7" ` +
			`(client c2, read at 0.013000s)`},
		{Sessions(sessions[:3], SessionsOptions{}), `no process has read a value after it had read or written`},
		{Sessions(forth, SessionsOptions{}), `2 of 4 reads are not of a session; 2 against monotonic reads: "1", "null"; first against ` +
			`monotonic reads "1" (client c0, read after "2" at 0.005000s)`},
		{Sessions(forth[:2], SessionsOptions{}), `2 reads keep to the order of sessions`},
		{Sessions(Ops{did(0, "write", "1", None, 0, 1), did(0, "write", "1", None, 2, 3), did(0, "read", None, "1", 4, 5)}, SessionsOptions{}),
			`no process has read a value after it had read or written; 1 ambiguous: "1" (client c0, read at 0.005000s)`},
	} {
		if got := c.r.Text(TextOptions{Began: began}); got != c.want {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}
