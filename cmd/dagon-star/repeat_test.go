//go:build unix

package main

import (
	"io"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/script"
)

// printWords is a command that prints the words that it is called with, each with
// a NUL after it.
const printWords = `printf '%s\000'`

// shellWords are the words that a shell makes of a line.
func shellWords(t *testing.T, shell, line string) []string {
	t.Helper()
	out, err := exec.Command(shell, "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %q: %v: %s", shell, line, err, out)
	}
	words := strings.Split(string(out), "\x00")
	return words[:len(words)-1]
}

// shells are those of the machine that have what POSIX asks of one.
func shells() (found []string) {
	for _, name := range []string{"sh", "dash", "bash", "busybox-sh", "ksh", "mksh", "yash"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	return found
}

// oddWord draws a word that a shell, a flag parser or a terminal could take for
// something else.
func oddWord(r *rand.Rand) string {
	pieces := []string{"a", "Z", "7", "-", "--", "=", " ", "  ", "\t", "\n", "\n\n", "\r", "'", "''", `"`, `\`, `\n`, `\055`,
		"$HOME", "$(id)", "`id`", "*", "?", "[x]",
		"~", "!", "!!", "#", ";", "&", "|", "<", ">", "(", ")", "{a,b}", "%", "%s", "%%", "\x1b[31m", "\a", "\x7f", "\x01", "\x80",
		"\xe9", "\xff", "\xc3",
		"é", "größe", "数", "😀", "\u202e", "\u2028", "\u0085", "\ufeff", "\ufffe", "\ufffd"}
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// TestQuote: every word comes out of a shell as it was, and is shown as it is.
func TestQuote(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "plain", "\n", "a\n", "\n\na\n\n", "-", "-\x1b", "--\n", "'\x1b'", `\\` + "\x1b", "%\x1b%", "100%", "a=b"}
	for b := 1; b < 256; b++ {
		words = append(words, string([]byte{byte(b)}), string([]byte{'7', byte(b), '7'}))
	}
	for range 3000 {
		words = append(words, oddWord(r))
	}
	for _, shell := range shells() {
		for some := range slices.Chunk(words, 500) {
			line := shellLine(printWords, some)
			if !report.IsVisible(line) || strings.Contains(line, "\n") {
				t.Errorf("it is not shown as it is: %q", line)
			}
			got := shellWords(t, shell, line)
			for i := range some {
				if i >= len(got) || got[i] != some[i] {
					t.Fatalf("%s: %q is quoted as %s, and came out as %q", shell, some[i], quote(some[i]), got[min(i, len(got)-1)])
				}
			}
		}
	}
}

// parsedRun is what "run" makes of its arguments.
type parsedRun struct {
	script.Config
	args        []string
	quiet, json bool
	seed        string
}

func parseRun(args []string) (p parsedRun, again func(seed uint64) []string, ok bool) {
	c := command{args: args, stdout: io.Discard, stderr: io.Discard}
	f := newFlags(c, "run", "", "")
	seed := runFlags(f, &p.Config)
	quiet, asJSON := f.BoolP("quiet", "q", false, ""), f.Bool("json", false, "")
	if _, done := parse(c, f, 1, 2); done {
		return p, nil, false
	}
	if parseSeed(c, f, *seed, &p.Config) != exitPassed {
		return p, nil, false
	}
	p.args, p.quiet, p.json, p.seed = f.Args(), *quiet, *asJSON, *seed
	return p, func(seed uint64) []string { return repeat(f, args, seed) }, true
}

// TestRepeatRepeats: whatever command line is accepted, the line that repeats it
// gives the same run through a shell, with the seed that was drawn.
func TestRepeatRepeats(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	shell := shells()[0]
	accepted := 0
	for accepted < 400 {
		var args []string
		for range 1 + r.IntN(5) {
			flags := [][]string{
				{"--param", "n=" + oddWord(r)}, {"--param=" + oddWord(r) + "=" + oddWord(r)}, {"--runs-dir", oddWord(r)}, {"--runs-dir=" + oddWord(r)},
				{"--contain", oddWord(r)}, {"--listen="}, {"--seed", "7"}, {"--seed=8"}, {"--seed", ""}, {"--seed="},
				{"--seed", oddWord(r)}, {"-qt5s"}, {"-t", "250ms"},
				{"--quiet"}, {"--quiet=false"}, {"--json"}, {"--"}, {"--param", "--"}, {"--runs-dir", "--"}, {"--runs-dir", "--seed"},
				{"--param", "--seed=3"},
				{oddWord(r)}, {"-" + oddWord(r)}, {"a.star"}, {"-x.star"}, {"--seed", "007"},
			}
			args = append(args, flags[r.IntN(len(flags))]...)
		}
		first, again, ok := parseRun(args)
		if !ok {
			continue
		}
		accepted++
		const drawn = 12345
		if first.Seed == nil {
			seed := uint64(drawn)
			first.Seed, first.seed = &seed, "12345"
		}
		words := shellWords(t, shell, shellLine(printWords, again(drawn)))
		second, _, ok := parseRun(words[1:])
		if words[0] != "run" || !ok || !reflect.DeepEqual(first, second) {
			t.Errorf("%q is repeated by %q: %+v, %+v", args, words, first, second)
		}
	}
}

// TestRepeatTest: the line that repeats a test chooses that test.
func TestRepeatTest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	shell := shells()[0]
	for range 300 {
		one := testRun{file: oddWord(r), name: "test_x[" + oddWord(r) + "]", seed: r.Uint64()}
		if one.file == "" || r.IntN(4) == 0 {
			one.file += "a.star"
		}
		given := []string{"--param", "n=" + oddWord(r), "--runs-dir=" + oddWord(r)}
		words := shellWords(t, shell, shellLine(printWords, repeatTest(one, given)))
		var config script.Config
		c := command{args: words[1:], stdout: io.Discard, stderr: io.Discard}
		f := newFlags(c, "test", "", "")
		seed := runFlags(f, &config)
		run := f.String("run", "", "")
		if _, done := parse(c, f, 1, 1); done || parseSeed(c, f, *seed, &config) != exitPassed {
			t.Fatalf("%q", words)
		}
		chosen, err := regexp.Compile(*run)
		if err != nil || !chosen.MatchString(one.title()) || f.Arg(0) != one.file || *config.Seed != one.seed {
			t.Errorf("%+v is repeated by %q: %v", one, words, err)
		}
	}
}
