package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime/report"
)

// repeat is the command line that repeats what a subcommand did: its arguments as
// they were, with the seed that was drawn where none was given. The seed follows
// them, where it does not fall behind a "--" that ends the flags.
func repeat(f *pflag.FlagSet, args []string, seed uint64) []string {
	line := append([]string{f.Name()}, args...)
	if f.Changed("seed") {
		return line
	}
	at := len(line)
	if f.ArgsLenAtDash() >= 0 {
		at = 1
	}
	return slices.Insert(line, at, "--seed", strconv.FormatUint(seed, 10))
}

// repeatTest is the command line that repeats one test, with the flags of all.
func repeatTest(r testRun, given []string) []string {
	line := []string{"test"}
	file := []string{r.file}
	if strings.HasPrefix(r.file, "-") {
		file = nil
	}
	line = append(line, file...)
	if r.name != "" {
		line = append(line, "--run", "^"+pattern(r.title())+"$")
	}
	line = append(line, "--seed", strconv.FormatUint(r.seed, 10))
	line = append(line, given...)
	if file == nil { // it is no flag
		line = append(line, "--", r.file)
	}
	return line
}

// pattern is a regular expression that matches a text. One has to be UTF-8: of
// another byte it says that there is one.
func pattern(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		c, n := utf8.DecodeRuneInString(text)
		if c == utf8.RuneError && n == 1 {
			b.WriteString(`\x{fffd}`)
		} else {
			b.WriteString(regexp.QuoteMeta(text[:n]))
		}
		text = text[n:]
	}
	return b.String()
}

// invocation is how this program was called, for a line that can be pasted.
func invocation(own string, args []string) string {
	program := "go run ./cmd/dagon-star"
	if !strings.Contains(filepath.ToSlash(own), "/go-build") { // where "go run" keeps what it builds
		if program = quote(os.Args[0]); strings.Contains(os.Args[0], "=") && program == os.Args[0] {
			program = "'" + program + "'" // or it sets a variable
		}
	}
	return shellLine(program, args)
}

func shellLine(program string, args []string) string {
	for _, a := range args {
		program += " " + quote(a)
	}
	return program
}

// quote quotes a word for a POSIX shell, where it needs to be. What it makes is
// one line, and can be shown on a terminal: whatever cannot, the shell is told to
// print.
func quote(word string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./=:,@%+", c)
	}
	if word != "" && strings.IndexFunc(word, func(c rune) bool { return !plain(c) }) < 0 {
		return word
	}
	if report.IsVisible(word) && !strings.Contains(word, "\n") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	// What a command prints loses the line ends that it ends with; the third
	// character of IFS is one.
	rest := strings.TrimRight(word, "\n")
	lineEnds := strings.Repeat("${IFS#??}", len(word)-len(rest))
	if rest == "" {
		return `"` + lineEnds + `"`
	}
	var b strings.Builder
	for i, c := range rest {
		_, n := utf8.DecodeRuneInString(rest[i:])
		switch shown := rest[i : i+n]; {
		case c == '%':
			b.WriteString("%%")
		case c != '\n' && c != '\'' && c != '\\' && report.IsVisible(shown) && (i > 0 || c != '-'):
			b.WriteString(shown)
		default:
			for _, octet := range []byte(shown) {
				fmt.Fprintf(&b, `\%03o`, octet)
			}
		}
	}
	return `"$(printf '` + b.String() + `')` + lineEnds + `"`
}
