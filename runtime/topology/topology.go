// Package topology reads the ini of a topology: which nodes there are, what
// runs on each, and where they find each other.
//
// A section is a node, and its keys the flags of its program, as Dagon read
// them; a closed list of keys, see Keys, says how the node is run instead.
// Values may hold placeholders, which are checked when the file is read and
// replaced when the node is started:
//
//	<SELF>           the node's own address
//	<NAME>           its name
//	<FOLDER>         the folder that it works in
//	<node>           the address of another node
//	<SELF:data>      host:port of the node's own endpoint listen.data
//	<node:data>      host:port of another node's endpoint, as this node reaches it,
//	                 or its value.data
//	<node:data:port> the port alone; <node:data:host> is the host
//	<n*:data>        what <node:data> is of each node that count = makes of [n], or of
//	                 each whose name begins with n if there is no such section, with
//	                 commas between; <n*> their addresses
//	<<node>          the text "<node>": before a placeholder, "<<" is a "<"
//
// What is between "<" and ">" is a placeholder where it is the name or the section
// of a node, or is written as one is: in letters, digits, "_", "-", "." and "+",
// with single words apart. If there is no such node, that is a mistake. So is what begins
// as a placeholder of the topology's and has not the form of one: with a name of the
// topology and ":" or "*", as in "<node:>" and "<SELF::x>", or with "*" or ":" alone, as in
// "<*:data>" and "<:data>". All else with "<" in it is text, such as "<http://x>", and so is
// a number that is no node's, such as "<13>". So is an element of XML, "<a>" with a "</a>"
// further on in the same text.
//
// Where a section has <node:data:port>, its <node> is the host at which that port is
// reached, which is a link's if nodes reach each other by links.
//
// The values of command, setup, ready.exec and template.FILE go on over the lines below
// them that are indented more than the key.
//
// A value ends at the line's end, or before a space and "#" or ";", which begin a
// comment; within back quotes, or double ones around all of it, it has both. A
// notice tells where what was cut off seems to belong to the value.
//
// Every mistake in a file is found in one reading, each with its line.
package topology

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// Role is what a node is in the lifecycle of its topology.
type Role string

// The roles.
const (
	Leader   Role = "leader"
	Worker   Role = "worker"
	Sender   Role = "sender"
	Receiver Role = "receiver"
)

// Topology is what an ini describes.
type Topology struct {
	Name     string // of the file, without its ending
	Path     string // of the file, as it was given
	Dir      string // absolute: what relative paths in it are relative to
	Nodes    []*Node
	Groups   []*Group // of the sections that have count =
	Settings Settings
	Notices  []*Mistake // what is no mistake, but not done either

	file              *file
	loss              loss
	files             fs.FS // that templates are read from; nil for the disk
	byName, bySection map[string]*Node
	byGroup           map[string]*Group
	sorted            []*Node // by name; made by sorting, when first asked for
	sorting           sync.Once
	relative          map[string]bool // paths that the ini gives relative to its folder

	patterns    map[string]*regexp.Regexp // of ready.log
	patternCost int
	made        int // nodes that count has made
	referred    int // nodes that placeholders refer to
	templated   int // bytes of templates' files
}

// Node finds a node by its name; nil if there is none.
func (t *Topology) Node(name string) *Node { return t.byName[name] }

// Find finds a node by its name, else by its section, as placeholders and scripts
// may; nil if there is none. In place of a section that has count =, that is the
// section followed by the node's number.
func (t *Topology) Find(name string) *Node { return cmp.Or(t.byName[name], t.bySection[name]) }

// Group finds the group of a section that has count =; nil if there is none.
func (t *Topology) Group(section string) *Group { return t.byGroup[section] }

// Group is a section with count = N: the nodes that are made of it, in their order.
type Group struct {
	Section string
	Line    int // of the section
	Nodes   []*Node
}

// Node is a section of the ini, or one of those that count = makes of a section.
type Node struct {
	Name      string // name=, else the section's; with count = followed by Index
	Section   string
	Index     int // from 1, among those that count = makes of the section; 0 without count
	Line      int // of the section
	Role      Role
	Path      string   // of its program, absolute, or a name to be found in PATH; "" for a component or a command
	Component string   // built into dagon-star; "" for a program
	Words     []string // of command =: the whole command line, with its placeholders; nil for Path and Component
	Wrapper   []string // put in front of the command
	Flags     []Flag   // in the order of the file
	Args      []string // after the flags
	Env       []EnvVar
	Cwd       string // absolute; "" is a folder of its own in the run's folder
	TTY       bool
	TTYSize   TTYSize // the zero one where the ini has none
	MayExit   bool
	Endpoints []Endpoint

	Ready     Ready
	Stop      string     // the signal that asks it to end, such as "TERM", without "SIG"; never ""
	Exit      []int      // codes that are clean ends of a stop, besides 0 and those of the stop signal
	Setup     string     // for sh -c, before the first fork; "" for nothing. Its placeholders are not filled in
	User      string     // that it runs as; "" is that of the run. See FindUser
	Templates []Template // in the order of the file
	Values    []Value

	keys  []keyValue
	lines map[string]int    // of its keys
	hosts map[string]portOf // by other nodes' names, the endpoints whose ports it refers to
}

// Ready says when an incarnation of a node is ready: when all that is given holds.
// Texts have placeholders, which Expand fills in.
type Ready struct {
	Log     *regexp.Regexp // a line of this incarnation's output matches it; nil for none
	Port    string         // the name of an endpoint of its own that accepts a connection; "" for none
	HTTP    HTTPProbe      // the zero one for none
	Exec    string         // for sh -c, in the node's folder: it exits with 0; "" for nothing
	Notify  bool           // READY=1 comes by sd_notify
	Message bool           // the OSC message /ready comes, as it must where there is nothing else and no command =
}

// IsZero reports whether nothing says when the node is ready: it has command = and no
// ready key.
func (r Ready) IsZero() bool { return r == Ready{} }

// HTTPProbe is a GET that is answered with a status of 200 to 399.
type HTTPProbe struct {
	Endpoint string // of the node itself
	Path     string // with its first slash, and its query if it has one. It has placeholders
}

// Template is a file that is put into the node's folder before each fork.
type Template struct {
	Name   string      // relative to the node's folder, with slashes; it stays within
	Source string      // the absolute path of the file that Text was read from; "" where the ini has the text, or ParseIn read it
	Text   string      // with its placeholders
	Mode   fs.FileMode // the permissions of Source; 0 where there is none

	file string // as mistakes have it, and the line in it that Text begins at
	line int
}

// Value is a text that others refer to as to an endpoint. Its placeholders are filled
// in as those of its own node, whoever refers to it.
type Value struct{ Name, Text string }

// Flag is a key that is passed to the program, as --key=value, or -l for
// leader.
type Flag struct{ Key, Value string }

// EnvVar is a variable of the environment.
type EnvVar struct{ Key, Value string }

// Endpoint is a port that the node listens on.
type Endpoint struct {
	Name    string
	Network string // "tcp" or "udp"
	Port    int    // 0: any free one
}

// Settings are the keys of [dagon].
type Settings struct {
	Listen    string        // where the control socket listens, for all nodes; "": a port of its own for each on 127.0.0.1
	Timeout   time.Duration // of an await
	Drain     time.Duration // between done and shutdown
	Grace     time.Duration // for a node to end by itself
	TimeLimit time.Duration // of the run
	Seed      *uint64       // nil: a new one for each run
	Links     string        // how nodes reach each other by <node:NAME>: LinksAuto, …
	Contain   string        // auto
	Usage     time.Duration // between two looks at what nodes use; 0: none is taken
}

// What Settings.Links can be. Who reads the script settles what auto is.
const (
	LinksAuto   = "auto"
	LinksProxy  = "proxy"  // through a relay for each pair of nodes, that faults act on
	LinksDirect = "direct" // without
)

// DefaultSettings are those of a file without [dagon].
func DefaultSettings() Settings {
	return Settings{Timeout: 30 * time.Second, Drain: 500 * time.Millisecond, Grace: 5 * time.Second,
		TimeLimit: 10 * time.Minute, Links: LinksAuto, Contain: "auto", Usage: 500 * time.Millisecond}
}

// Mistake is something wrong in an ini, or worth a notice.
type Mistake struct {
	File string
	Line int // 0: of the whole file
	Col  int // in characters, from 1; 0: of the whole line
	Text string
	Err  error // where it is one that has a type, such as that of a program that cannot be started; else nil

	at string // what of its line it is about; see mistakeAt
}

// Unwrap is Err.
func (m *Mistake) Unwrap() error { return m.Err }

func (m *Mistake) Error() string {
	switch {
	case m.Line == 0:
		return m.File + ": " + m.Text
	case m.Col == 0:
		return fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Col, m.Text)
}

// Mistakes are all that is wrong in an ini, in the order of its lines.
type Mistakes []*Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads an ini. The error is that of reading the file, or Mistakes.
func Load(path string) (*Topology, error) {
	data, err := userfile.Read(path, maxSize)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads an ini from memory. path names it in errors, and its folder is
// what relative paths are relative to. The error is Mistakes: the first hundred
// of them and the number of the others, none over 400 bytes and the path.
//
// An ini may have 16 MiB. Parse allocates at most 256 bytes for each byte of
// it, 1 KiB for each of the 10,000 nodes that count may make, and twice the folder's name
// for each line that has a file's; besides what patterns of ready.log take, which have
// 100,000 instructions together, and the files of templates, of 16 MiB together.
func Parse(path string, data []byte) (*Topology, error) {
	t, err := ParseIn(nil, path, data)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ParseIn is Parse of an ini that is not on the disk, and neither are the files of its
// templates: it reads them from files, in the folder of path, which has slashes. What
// else the ini names, such as programs, is on the disk all the same. files may be nil,
// which is Parse. Beside Mistakes there is a topology that is not whole: see IsWhole.
func ParseIn(files fs.FS, path string, data []byte) (*Topology, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(path)
	t := &Topology{Name: strings.TrimSuffix(base, filepath.Ext(base)), Path: path, Dir: dir, Settings: DefaultSettings(), files: files}
	t.file = scan(path, data)
	t.read()
	t.lose()
	t.file.place(t.Notices)
	if mistakes := t.file.found(); len(mistakes) > 0 {
		return t, mistakes
	}
	return t, nil
}

// ParseDuration reads a duration as it is written everywhere: a number of
// seconds, "0.5", or a number with units, "250ms", "1m30s". It is not negative.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if seconds, numberErr := strconv.ParseFloat(s, 64); numberErr == nil && !strings.ContainsAny(s, "xXpP_iIaA") {
		d, err = Seconds(seconds)
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration: a number of seconds, or one such as \"250ms\" or \"1m30s\", was expected", Brief(s, maxQuoted))
	}
	return d, nil
}

// Seconds makes a duration of a number of seconds, which must not be negative,
// NaN, or more than a duration can hold (292 years).
func Seconds(s float64) (time.Duration, error) {
	if !(s >= 0) || s >= math.MaxInt64/float64(time.Second) {
		return 0, fmt.Errorf("%v seconds is no duration", s)
	}
	return time.Duration(math.Round(s * float64(time.Second))), nil
}
