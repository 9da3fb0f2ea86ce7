package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/scenarios"
	"github.com/dagon-star/dagon-star/scenarios/buffy"
	"github.com/dagon-star/dagon-star/script"
)

func runCheck(c command) int {
	f := newFlags(c, "check", "SCRIPT [TOPOLOGY]", `
Finds syntax errors, unknown names, wrong arguments of builtins, unknown nodes,
mistakes in the ini, and missing programs, all at once. Nothing is run.

Example:
  dagon-star check my.star my.ini
`)
	if code, done := parse(c, f, 1, 2); done {
		return code
	}
	config := script.Config{Components: buffy.Names()}
	var err error
	if config.Script, config.Topology, err = given(f); err != nil {
		return c.mistake(f, err)
	}
	if own, err := os.Executable(); err == nil {
		config.Component = own
	}
	notices, err := script.Review(config)
	for _, notice := range notices {
		fmt.Fprintln(c.stdout, "note: "+notice)
	}
	if err != nil {
		fmt.Fprintln(c.stderr, err)
		var mistakes script.Mistakes
		if errors.As(err, &mistakes) {
			fmt.Fprintf(c.stderr, "mistakes: %d\n", len(mistakes))
		}
		return exitMistake
	}
	fmt.Fprintln(c.stdout, "no mistakes found")
	return exitPassed
}

// runBoot is the oldest documented call of Dagon: it listens, forks one program,
// and sees it through its life.
func runBoot(c command) int {
	var config script.Config
	f := newFlags(c, "boot", "-f PATH -n NAME -h HOST -p PORT [FLAG...]", `
Listens on HOST:PORT, forks the program with --name=NAME and --phone-home, waits
until it is ready, starts it, awaits done, and shuts it down. PATH is a file, or
else the name of a built-in component.

Example:
  dagon-star boot -f dagon-child -n dagon-child -h 127.0.0.1 -p 8080
`)
	path := f.StringP("filepath", "f", "", "the program, or the name of a built-in component")
	name := f.StringP("name", "n", "", "the node's name")
	host := f.StringP("host", "h", "127.0.0.1", "where to listen")
	port := f.Uint16P("port", "p", 0, "the port to listen on; 0 is any free one")
	help := f.Bool("help", false, "this text")
	seed := runFlags(f, &config)
	quiet := f.BoolP("quiet", "q", false, "print nothing but what keeps the run from passing")
	hold := holdFlags(f)
	if code, done := parse(c, f, 0, 0); done {
		return code
	}
	if *help {
		f.Usage()
		return exitPassed
	}
	if code := parseSeed(c, f, *seed, &config); code != exitPassed {
		return code
	}
	if *path == "" || *name == "" {
		fmt.Fprint(c.stderr, "dagon-star boot: -f PATH and -n NAME are needed\nsee \"dagon-star boot --help\"\n")
		return exitMistake
	}
	key := "path"
	if _, err := os.Stat(*path); err != nil && slices.Contains(buffy.Names(), *path) {
		key = "component"
	}
	text, _ := scenarios.Open("boot.star")
	config.Script, config.Source = "boot.star", text
	config.Topology = "boot.ini"
	config.TopologySource = fmt.Appendf(nil, "[node]\n%s = %q\nname = %q\nrole = sender\n", key, *path, *name)
	if config.Listen == "" {
		config.Listen = net.JoinHostPort(*host, fmt.Sprint(*port))
	}
	config.Argv = append([]string{"dagon-star", "boot"}, c.args...)
	return c.execute(config, shows{*quiet, false, hold}, func(seed uint64, _ string) []string { return repeat(f, c.args, seed) })
}

func runComponent(c command) int {
	if len(c.args) == 0 || c.args[0] == "--help" || c.args[0] == "-h" {
		out, code := c.stdout, exitPassed
		if len(c.args) == 0 {
			out, code = c.stderr, exitMistake
		}
		fmt.Fprintf(out, "Usage:\n  dagon-star component NAME [FLAG...]\n\nRuns a built-in component as this process:\n"+
			"%s\n\"dagon-star component NAME --help\" tells its flags.\n", buffy.Summaries())
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return buffy.Run(ctx, c.args[0], c.args[1:], os.Getenv, c.rawStdout, c.rawStderr)
}

func runVersion(c command) int {
	if code, done := parse(c, newFlags(c, "version", "", ""), 0, 0); done {
		return code
	}
	fmt.Fprintf(c.stdout, "dagon-star %s %s %s/%s\n", script.Version(), goruntime.Version(), goruntime.GOOS, goruntime.GOARCH)
	return exitPassed
}

func runDocs(c command) int {
	f := newFlags(c, "docs", "[NAME]", `
NAME is a builtin, a module such as random, a family such as lifecycle, a key of the
ini, one of language, ini, scenarios and components, or a scenario, which is shown.

Examples:
  dagon-star docs
  dagon-star docs await_output
  dagon-star docs ready.log
  dagon-star docs language
  dagon-star docs systems/redis/redis.star
  dagon-star docs --schema
`)
	of := f.String("schema", "", "the JSON Schema of what programs read: events, a line of events.jsonl; report, report --format json; "+
		"tests, test --json")
	f.Lookup("schema").NoOptDefVal = "events"
	if code, done := parse(c, f, 0, 1); done {
		return code
	}
	if f.Changed("schema") {
		text, ok := report.Schemas()[*of]
		if !ok {
			return c.mistake(f, fmt.Errorf("there is no schema %q: one of events, report, tests was expected", *of))
		}
		fmt.Fprintf(c.rawStdout, "%s", text)
		return exitPassed
	}
	text, ok := docs(f.Arg(0))
	if !ok {
		fmt.Fprintf(c.stderr, "dagon-star docs: nothing is named %q%s\n", f.Arg(0), text)
		return exitMistake
	}
	fmt.Fprint(c.stdout, text)
	return exitPassed
}

// docs is the documentation of a name, or of all; where there is none, it is a
// hint.
func docs(name string) (string, bool) {
	var b strings.Builder
	section := func(title, text string) { fmt.Fprintf(&b, "%s\n\n%s\n", strings.ToUpper(title), text) }
	keys := func(title string, keys []topology.Key) {
		fmt.Fprintf(&b, "%s\n\n", strings.ToUpper(title))
		for _, k := range keys {
			b.WriteString(keyDoc(k))
		}
		b.WriteString("\n")
	}
	all := name == ""
	if all || name == "language" {
		section("language", script.Language)
	}
	names := []string{"language", "ini", "scenarios", "components"}
	for _, f := range builtins.Families() {
		title := false
		names = append(names, f[0])
		for _, d := range builtins.Catalogue() {
			if d.Family == f[0] {
				names = append(names, d.Name)
			}
			if d.Family != f[0] || !all && name != f[0] && name != d.Name && !strings.HasPrefix(d.Name, name+".") {
				continue
			}
			if !title && name != d.Name {
				fmt.Fprintf(&b, "%s\n\n%s\n", strings.ToUpper(f[0]), wrap(f[1], ""))
			}
			title = true
			signature := strings.TrimSpace(wrap(d.Signature, "      "))
			fmt.Fprintf(&b, "  %s\n%s\n%s", signature, wrap(d.Text, "      "), example(d.Example))
		}
	}
	for _, k := range topology.Keys() {
		names = append(names, k.Name)
		if base, _, dotted := strings.Cut(k.Name, "."); name == k.Name || dotted && name == base {
			b.WriteString(keyDoc(k))
		}
	}
	if all || name == "ini" {
		section("ini", wrap(iniText, "")+"\n"+placeholders)
		keys("keys of a node", topology.Keys())
		keys("keys of [dagon]", topology.SettingKeys())
	}
	if all || name == "scenarios" {
		section("scenarios", wrap(scenariosText, "")+"\n  "+strings.Join(scenarios.Names(), "\n  ")+"\n")
	}
	if all || name == "components" {
		section("components", buffy.Summaries())
	}
	names = append(names, scenarios.Names()...)
	if text, ok := scenarios.Open(name); ok {
		b.Write(text)
	}
	if b.Len() == 0 {
		if n := topology.Nearest(name, names); n != "" {
			return fmt.Sprintf(" (did you mean %s?)", n), false
		}
		return "; \"dagon-star docs\" tells all", false
	}
	return b.String(), true
}

const (
	scenariosText = "What is shipped, to be run by its name, and shown by docs: dagon-star run " +
		"systems/redis/redis.star. Those below systems need the servers; the scripts right there are clients of a protocol, to load."

	iniText = "A section is a node. Any server runs unchanged with command = its whole command line. With path = or " +
		"component = instead, the keys that are not in the list below are passed to the program as --key=value, in the " +
		"order of the file. A value ends at \" #\" and \" ;\", which begin a comment; back quotes around a value keep " +
		"them. These stand for something in values, in templates, and in what a script has a node do:"

	placeholders = `  <SELF>            the node's own address
  <NAME>            its name
  <FOLDER>          the folder that it works in
  <SELF:http>       host:port of its own endpoint listen.http; or its value.http
  <node>            the address of another node
  <node:http>       host:port of another's endpoint, as this node reaches it; or its value.http
  <node:http:port>  the port alone, and <node> beside it is the host; :host is the host alone
  <n*:http>         those of all nodes of the section n that has count =, or of all whose
                    names begin with n, with commas between; <n*> their addresses
  <<node>           the text "<node>"

A number that is no node's name, such as <13>, is text, and so is an element of XML that
is closed further on, such as <name>x</name>.
`
)

// keyDoc is the documentation of a key of the ini.
func keyDoc(k topology.Key) string {
	text := fmt.Sprintf("  %s = %s\n%s", k.Name, k.Value, wrap(k.Text, "      "))
	if k.Example == "" {
		return text
	}
	return text + "\n" + example(strings.TrimSpace(k.Example))
}

// example is an example as the documentation shows it, or nothing.
func example(code string) (text string) {
	if code == "" {
		return ""
	}
	for line := range strings.SplitSeq(code, "\n") {
		text += strings.TrimRight("          "+line, " ") + "\n"
	}
	return text + "\n"
}

// wrap breaks a text into lines of 80 characters.
func wrap(text, indent string) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
