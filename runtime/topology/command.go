package topology

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// Addresses say where nodes are.
type Addresses interface {
	Host(node string) string        // a node's own address
	Port(node, endpoint string) int // of an endpoint of a node
	// Reach is the host:port at which one node reaches an endpoint of another.
	Reach(from, to, endpoint string) string
}

// Place is where the nodes of a run are: what their placeholders become.
type Place struct {
	Addresses
	// Folder is the folder in which a node works that has no cwd =. It is absolute.
	Folder func(node string) string
}

// WorkingFolder is the absolute path of the folder that a node works in: cwd =, else
// the one that the run gives it. It is <FOLDER>.
func (t *Topology) WorkingFolder(n *Node, p Place) string {
	if n.Cwd == "" {
		return p.Folder(n.Name)
	}
	return t.fill(n, p, n.Cwd)
}

// Command is the command line of a node, what the ini adds to its environment,
// and its working folder, "" where the ini does not say. phoneHome is the
// host:port that the node reports to; componentProgram is the dagon-star that
// runs components.
//
// A command = is as it stands, and has a PATH that goes on with the folders in which
// servers are installed, unless the ini sets one: see ServerPath.
func (t *Topology) Command(n *Node, p Place, phoneHome, componentProgram string) (argv, env []string, dir string, err error) {
	fill := func(s string) string { return t.fill(n, p, s) }
	for _, w := range n.Wrapper {
		argv = append(argv, fill(w))
	}
	for _, e := range n.Endpoints {
		env = append(env, listenVariable(e.Name)+"="+address(p, n.Name, e.Name))
	}
	if path := os.Getenv("PATH"); n.Words != nil && ServerPath(path) != path {
		env = append(env, "PATH="+ServerPath(path))
	}
	for _, v := range n.Env {
		env = append(env, v.Key+"="+fill(v.Value))
	}
	dir = fill(n.Cwd)
	switch {
	case n.Words != nil:
		for _, word := range n.Words {
			argv = append(argv, fill(word))
		}
		return argv, env, dir, nil
	case n.Component == "":
		argv = append(argv, n.Path)
	case componentProgram == "":
		return nil, nil, "", ErrNoComponentProgram
	default:
		argv = append(argv, componentProgram, "component", n.Component)
	}
	argv = append(argv, "--name="+n.Name)
	for _, f := range n.Flags {
		if f.Key == "leader" && f.Value == "" {
			argv = append(argv, "-l")
		} else {
			argv = append(argv, "--"+f.Key+"="+fill(f.Value))
		}
	}
	for _, word := range n.Args {
		argv = append(argv, fill(word))
	}
	return append(argv, "--phone-home="+phoneHome), env, dir, nil
}

// ServerPath is a PATH followed by the folders in which packages put servers, those of
// them that are there and not in it: the sbin folders, and those of PostgreSQL, the
// latest version first. What is found in the PATH itself stays what it is.
func ServerPath(path string) string {
	folders := filepath.SplitList(path)
	more := []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin"}
	if runtime.GOOS == "windows" {
		more = nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern) // its only error is that of a bad pattern
		slices.SortFunc(found, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(b, a)) })
		more = append(more, found...)
	}
	for _, folder := range more {
		if info, err := os.Stat(folder); err == nil && info.IsDir() && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return strings.Join(folders, string(filepath.ListSeparator))
}

// ErrNoComponentProgram is the error of running a built-in component where it
// is not known which program has it.
var ErrNoComponentProgram = errors.New("component = needs the path of a dagon-star binary, and none was given")

// CheckPrograms finds the nodes whose program, working folder or user is not there. What
// is wrong in the ini itself it passes over, as the mistakes of ParseIn tell that.
// look reports whether a program can be started; see process.LookPath.
func (t *Topology) CheckPrograms(componentProgram string, components []string,
	look func(program, dir string, env []string) error) Mistakes {
	var mistakes Mistakes
	wrong := func(n *Node, key, format string, args ...any) {
		err, _ := args[len(args)-1].(error)
		line, at := n.keyLine(key), ""
		if n.lines[key] > 0 {
			at = atValue
		}
		mistakes = append(mistakes, &Mistake{File: t.Path, Line: line, Text: fmt.Sprintf(format, args...), Err: err, at: at})
	}
	inherited := os.Environ()
	for _, n := range t.sectionNodes() {
		env := inherited[:len(inherited):len(inherited)]
		if n.Words != nil {
			env = append(env, "PATH="+ServerPath(os.Getenv("PATH")))
		}
		for _, v := range n.Env {
			env = append(env, v.Key+"="+v.Value)
		}
		dir := n.Cwd
		if strings.Contains(dir, "<") {
			dir = ""
		}
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			if err == nil {
				wrong(n, "cwd", "[%s]: its working folder %s is a file: a folder was expected", n.Section, dir)
			} else {
				wrong(n, "cwd", "[%s]: its working folder %s is not there: make it, or leave cwd out for a folder of the run (%v)", n.Section,
					dir, err)
			}
			dir = ""
		}
		if len(n.Wrapper) > 0 && !strings.HasPrefix(n.Wrapper[0], "<") {
			if err := look(n.Wrapper[0], "", env); err != nil {
				wrong(n, "wrapper_path", "[%s]: %v", n.Section, err)
			}
		}
		if n.User != "" {
			if _, err := FindUser(n.User); err != nil {
				wrong(n, "user", "[%s]: user is %q: %v", n.Section, n.User, err)
			}
		}
		switch {
		case n.Words != nil:
			if strings.HasPrefix(n.Words[0], "<") || n.Words[0] == "" {
				break // it is known when the node is forked, or not at all
			}
			if err := look(n.Words[0], dir, env); err != nil {
				wrong(n, "command", "[%s]: %v", n.Section, err)
			}
		case n.Component == "" && n.Path == "":
		case n.Component == "":
			if err := look(n.Path, dir, env); err != nil {
				wrong(n, "path", "[%s]: %v", n.Section, err)
			}
		case len(components) > 0 && !slices.Contains(components, n.Component):
			wrong(n, "component", "[%s]: no component is named %q: one of %s was expected", n.Section, n.Component, strings.Join(components, ", "))
		case componentProgram == "":
			wrong(n, "component", "[%s]: %v", n.Section, ErrNoComponentProgram)
		}
	}
	t.file.place(mistakes)
	return mistakes
}

// Files are the absolute paths of the regular files that values of nodes name,
// each once and in the order of the ini: of file =, of template.FILE =, and of any
// other flag, word of a command, argument or variable that is the path of one,
// absolute or relative to cwd =. Programs may be among them.
func (t *Topology) Files() []string {
	var files []string
	seen := map[string]bool{}
	for _, n := range t.sectionNodes() {
		n.texts(func(of nodeText) {
			path := of.path
			if path != "" && !filepath.IsAbs(path) && n.Cwd != "" && !strings.Contains(n.Cwd, "<") {
				path = filepath.Join(n.Cwd, path)
				if t.relative[n.Cwd] {
					t.relative[path] = true
				}
			}
			if !filepath.IsAbs(path) || seen[path] {
				return
			}
			seen[path] = true
			if _, err := userfile.Stat(path); err == nil {
				files = append(files, path)
			}
		})
	}
	return files
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Links are the kinds of network, "tcp" and "udp", by which each ordered pair of
// nodes is tied together, whichever of the two calls the other.
func (t *Topology) Links() map[[2]string][]string {
	links := map[[2]string][]string{}
	for _, tie := range t.Ties() {
		network := "tcp"
		for _, e := range t.Find(tie.To).Endpoints {
			if e.Name == tie.Endpoint {
				network = e.Network
			}
		}
		for _, pair := range [][2]string{{tie.From, tie.To}, {tie.To, tie.From}} {
			if !slices.Contains(links[pair], network) {
				links[pair] = append(links[pair], network)
			}
		}
	}
	return links
}
