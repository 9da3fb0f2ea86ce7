package script_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/script"
)

const testsOf = `
cases = {"test_state": ["ready", ("forked",)]}
def setup():
    fork(one)
    await_ready(one)
def test_state(want):
    assert.eq(one.state, want)
def test_limit():
    limit(one, memory = "1GiB")
def test_elsewhere():
    harm = limit
    harm(one, memory = "1GiB")
def test_nothing():
    check_same([], [])
`

// TestOfTests is what script.Test is called in by TestTests: some of what it runs
// fails.
func TestOfTests(t *testing.T) {
	if os.Getenv("TEST_OF_TESTS") == "" {
		t.Skip("TestTests runs it, in a process of its own")
	}
	script.Test(t, script.Config{Script: "t.star", Source: []byte(testsOf), TopologySource: nodes("one"), Driver: newUnable(t)})
}

// TestTests: each test is a subtest of its own, which passes, fails or is
// skipped as the run came out.
func TestTests(t *testing.T) {
	names, err := script.Tests(script.Config{Source: []byte(testsOf), TopologySource: nodes("one")})
	want := []string{"test_state[ready]", "test_state[forked]", "test_limit", "test_elsewhere", "test_nothing"}
	if err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("%q, %v", names, err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(own, "-test.run", "^TestOfTests$", "-test.v")
	c.Env = append(os.Environ(), "TEST_OF_TESTS=1")
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err == nil {
		t.Error("it passed")
	}
	for _, line := range []string{
		"--- PASS: TestOfTests/test_state[ready]", "--- FAIL: TestOfTests/test_state[forked]", "--- SKIP: TestOfTests/test_limit",
		"--- SKIP: TestOfTests/test_elsewhere", "--- FAIL: TestOfTests/test_nothing", `assert.eq: "ready" != "forked"`,
		"this machine cannot do limit.memory", "inconclusive at t.star:14:15: check_same: it compared no records",
	} {
		if !strings.Contains(string(out), line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(c.Dir, "*")); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}

// TestTestNames: of one name the last is called, be it loaded or defined, and what
// is no function has the name of a test in vain.
func TestTestNames(t *testing.T) {
	dir := t.TempDir()
	lib := "def test_a(): fail('loaded')\ntest_alias = test_a\ndef ends(): check(False, 'ends')\n"
	if err := os.WriteFile(filepath.Join(dir, "lib.star"), []byte(lib), 0o666); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"load('lib.star', 'test_a')\ndef test_a(): pass":                                "passed ",
		"def test_a(): pass\nload('lib.star', 'test_a')":                                "failed fail: loaded",
		"load('lib.star', test_a='ends')":                                               "failed check: ends",
		"load('lib.star', teardown='ends')\ndef test_a(): pass":                         "failed teardown: check: ends",
		"load('lib.star', teardown='ends')\ndef test_a(): fail('first')":                "failed fail: first",
		"teardown = lambda: fail('lambda')\ndef test_a(): pass":                         "failed teardown: fail: lambda",
		"def teardown(): inconclusive('no proof')\ndef test_a(): pass":                  "inconclusive teardown: inconclusive: no proof",
		"teardown = []\nprint('no test')":                                               "passed ",
		"load('lib.star', 'test_alias')\ndef test_a(): pass":                            "test_alias has the name of a test",
		"test_a, b = 1, 2\ndef test_b(): pass":                                          "test_a has the name of a test",
		"test_rounds = 5\nprint('no test')":                                             "passed ",
		"setup = -1\ndef test_a(): pass":                                                "setup is no function",
		"teardown = ('', None)\ndef test_a(): pass":                                     "teardown is no function",
		"test_a = (lambda: 1)\ndef test_b(): pass\nsetup = [x for x in []]\nsetup = {}": "setup is no function",
	} {
		c := script.Config{Script: filepath.Join(dir, "t.star"), Source: []byte(source), RunsDir: t.TempDir()}
		if strings.Contains(source, "test_") && !strings.Contains(source, "no test") {
			c.Test = "test_a"
		}
		got := ""
		if r, err := script.Run(t.Context(), c); err != nil {
			got = err.Error()
		} else {
			got = string(r.Outcome) + " " + r.Reason
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", source, got, want)
		}
	}
}

// TestNoTests: what defines only what others load is no test, and what does
// something is one.
func TestNoTests(t *testing.T) {
	for source, want := range map[string]int{
		"": 0, "x = 1\ndef f(): pass\npass\n'text'": 0, "print(1)": 1, "x = 1\nif x: pass": 1, "for x in []: pass": 1,
	} {
		names, err := script.Tests(script.Config{Source: []byte(source)})
		if err != nil || len(names) != want {
			t.Errorf("%q: %q, %v", source, names, err)
		}
	}
}
