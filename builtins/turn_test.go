package builtins_test

import "testing"

// TestComputingKeepsTurn: other tasks do not go on while one computes, however long that
// takes: they could change what it works on.
func TestComputingKeepsTurn(t *testing.T) {
	passes(t, `
xs = list(range(300000))
def meddle():
    while True:
        xs.append(len(xs))
        sleep(0)
spawn(meddle)
sleep(0)
n = len(xs)
for _ in range(3):
    end = time.now() + time.parse_duration("110ms")
    while time.now() < end:
        assert.eq(len(json.decode(json.encode(xs))), n)
        assert.eq(len(str(xs).split(",")), n)
        assert.eq(max(sorted(xs, reverse = True)), n - 1)
`)
}
