package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// surroundings are what a process of a node is started in.
type surroundings struct {
	dir  string              // its working folder, absolute
	own  bool                // that is the one that the run gives it
	user *process.Credential // nil for that of the run
	env  []string            // whole
	set  []string            // of it, what the ini and the script set
	argv []string            // of the node itself
}

// surroundings returns what the node's processes are started in, with the variables
// that a script adds. home is the address that it phones.
func (m *Means) surroundings(spec *topology.Node, inherited []string, o ForkOptions, home string, more ...string) (s surroundings, err error) {
	name := spec.Name
	argv, env, dir, err := m.Topology.Command(spec, m.Place(), home, m.Component)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	s.argv, s.dir, s.own = argv, dir, dir == ""
	if s.own {
		s.dir = m.Folder(name)
	}
	s.set = append(env, o.variables()...)
	// PWD is not that which we were called in, but the ini may say another.
	own := []string{"PWD=" + s.dir}
	if spec.User != "" {
		found, err := topology.FindUser(spec.User)
		if err != nil {
			return s, fmt.Errorf("%s: user = %s: %w", name, spec.User, err)
		}
		own = append(own, "HOME="+found.Home, "USER="+found.Name, "LOGNAME="+found.Name)
		if !found.IsOwn {
			s.user = &process.Credential{Name: found.Name, UID: found.UID, GID: found.GID, Groups: found.Groups}
		}
	}
	own = append(own, s.set...)
	own = append(own, "DAGON_NAME="+name, "DAGON_ROLE="+string(spec.Role), "DAGON_RUN="+m.Run)
	own = append(own, more...)
	// Whoever has started us may be told by that socket that we are ready, not that a node is.
	s.env = slices.DeleteFunc(lastOfEach(inherited, append(own, m.Env...)), func(v string) bool { return key(v) == probe.NotifyVariable })
	return s, nil
}

// prepare makes the node's folder and puts into it what the ini says: its templates,
// and what setup makes where that has not been run since the folder was empty.
func (n *Node) prepare(ctx context.Context, s surroundings) error {
	if err := n.makeFolder(s); err != nil {
		return err
	}
	n.m.Journal.Lock()
	needsSetup := n.NeedsSetup()
	n.m.Journal.Unlock()
	if needsSetup {
		// What setup may read; in a folder that it may want to make itself there is
		// nothing yet.
		if err := n.writeTemplates(s, func(t topology.Template) bool { return !strings.Contains(t.Name, "/") }); err != nil {
			return err
		}
		if err := n.setUp(ctx, s); err != nil {
			return err
		}
	}
	return n.writeTemplates(s, func(topology.Template) bool { return true })
}

// writeTemplates puts the templates that are wanted into the node's folder, through no
// symbolic link that the node has left there.
func (n *Node) writeTemplates(s surroundings, wanted func(topology.Template) bool) error {
	if len(n.Spec.Templates) == 0 {
		return nil
	}
	root, err := openFolder(s.dir)
	if err != nil {
		return fmt.Errorf("%s: cannot write its templates: %w", n.Spec.Name, err)
	}
	defer root.Close()
	for _, t := range n.Spec.Templates {
		if !wanted(t) {
			continue
		}
		text, err := n.m.Topology.Expand(n.Spec, n.m.Place(), t.Text)
		if err == nil {
			err = writeTemplate(root, t.Name, text, cmp.Or(t.Mode, 0o644), s.user)
		}
		if err != nil {
			return fmt.Errorf("%s: template.%s (%s): %w", n.Spec.Name, t.Name, n.where("template."+t.Name), err)
		}
	}
	return nil
}

// openFolder opens a folder for what is done in it, and nowhere else. It must not be a
// symbolic link.
func openFolder(dir string) (*os.Root, error) {
	if info, err := os.Lstat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder any more (mode %s)", dir, info.Mode())
	}
	return os.OpenRoot(dir)
}

// writeTemplate writes a file with its permissions, less the umask, and the folders that it
// is in, as the user's.
func writeTemplate(root *os.Root, name, text string, mode fs.FileMode, user *process.Credential) error {
	give := func(name string) error {
		if user == nil {
			return nil
		}
		return root.Lchown(name, int(user.UID), int(user.GID))
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		folder := name[:i]
		switch info, err := root.Lstat(folder); {
		case errors.Is(err, fs.ErrNotExist):
			if err := root.Mkdir(folder, 0o755); err != nil {
				return err
			}
			if err := give(folder); err != nil {
				return err
			}
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is no folder but has mode %s; nothing is written through what the node has put there",
				path.Join(root.Name(), folder), info.Mode())
		}
	}
	if info, err := root.Lstat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", path.Join(root.Name(), name))
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link itself
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return give(name)
}

// setUp runs the node's setup.
func (n *Node) setUp(ctx context.Context, s surroundings) error {
	m, name := n.m, n.Spec.Name
	text, err := m.Topology.Expand(n.Spec, m.Place(), n.Spec.Setup)
	if err != nil {
		return &SetupError{Node: name, Where: n.where("setup"), Err: err}
	}
	timeout := m.Timeout
	bounded, cancel := m.within(ctx, timeout, fmt.Errorf("it did not end within %s, and was killed", timeout))
	defer cancel()
	began := m.Clock.Now()
	out, err := probe.Exec(bounded, m.Processes, probe.Command{Node: name, Argv: probe.Shell(text), Env: s.env, Dir: s.dir,
		Credential: s.user})
	took := m.Clock.Now() - began
	done := event.Setup{TookS: took.Truncate(time.Microsecond).Seconds(), Code: -1}
	var written []byte
	if out != nil {
		done.Code, done.Signal, written = out.Code, out.Signal, append(out.Stdout, out.Stderr...)
		if err := n.keepSetup(began, written); err != nil {
			return &journal.LogError{Err: fmt.Errorf("output of the setup of %s: %w", name, err)}
		}
	}
	failed := err != nil || done.Code != 0
	var problem *probe.Error
	if errors.As(err, &problem) {
		err = errors.New(problem.Problem)
		if problem.Err != nil {
			err = fmt.Errorf("%s: %w", problem.Problem, problem.Err)
		}
	}
	if err != nil {
		done.Error = err.Error()
	}
	m.Journal.Lock()
	defer m.Journal.Unlock()
	n.isSetUp = !failed
	m.Journal.Append(name, done)
	if failed {
		return &SetupError{Node: name, Where: n.where("setup"), Code: done.Code, Signal: done.Signal, Took: took, Err: err,
			Output: lastLines(written)}
	}
	return nil
}

// keepSetup writes what a setup has written into a file of its own, after that of those
// before: it is no output of an incarnation. No node has a log of that name.
func (n *Node) keepSetup(began time.Duration, written []byte) error {
	f, err := os.OpenFile(strings.TrimSuffix(n.logFile, ".log")+".setup", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%.6f --- setup\n%s", began.Seconds(), written)
	return errors.Join(err, f.Close())
}

// lastLines are the last lines of a text, for an error to quote.
func lastLines(text []byte) []string {
	s := strings.TrimRight(string(text), "\n")
	if s == "" {
		return nil
	}
	all := strings.Split(s, "\n")
	return all[max(0, len(all)-tailLines):]
}

// where is the place of a key of the node's in the ini.
func (n *Node) where(key string) string {
	return fmt.Sprintf("%s:%d", n.m.Topology.Path, n.Spec.KeyLine(key))
}

// SetupError is a setup that failed: its node was not forked.
type SetupError struct {
	Node   string
	Where  string // file:line of the ini
	Code   int    // that it exited with; -1 where a signal ended it
	Signal string
	Took   time.Duration
	Err    error    // why it was not started, or was ended; nil where it ended by itself
	Output []string // its last lines
}

func (e *SetupError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: setup (%s) ", e.Node, e.Where)
	if e.Err != nil {
		fmt.Fprintf(&b, "failed: %v", e.Err)
	} else {
		fmt.Fprintf(&b, "exited %s after %s; exit code 0 was expected", roster.ExitText(e.Code, e.Signal), journal.Short(e.Took))
	}
	journal.WriteOutput(&b, "the setup of "+e.Node, e.Output)
	return b.String()
}

func (e *SetupError) Unwrap() error { return e.Err }

// Wipe empties the node's folder, and has setup run again before its next fork. It is a
// *journal.StateError if the node runs or is being forked, and where the ini says which
// folder it works in, as what is in that is not the run's. It follows no symbolic link.
func (n *Node) Wipe() error {
	j := n.m.Journal
	cannot := func(why string) error {
		return &journal.StateError{Node: n.Name, State: n.State, Text: "cannot wipe its folder: " + why}
	}
	j.Lock()
	defer j.Unlock()
	switch {
	case n.wiping:
		return cannot("it is being wiped")
	case n.birth != nil:
		return cannot("it is being forked")
	case n.Alive():
		return cannot(fmt.Sprintf("it runs, as pid %d; kill it or shut it down first", n.PID))
	case n.Spec.Cwd != "":
		return cannot(fmt.Sprintf("it has cwd = %s (%s), which is no folder of the run", n.Spec.Cwd, n.where("cwd")))
	}
	n.wiping = true
	j.Unlock()
	err := empty(n.m.Folder(n.Spec.Name))
	j.Lock()
	n.wiping, n.isSetUp = false, false
	if err != nil {
		return fmt.Errorf("%s: cannot wipe its folder: %w", n.Name, err)
	}
	j.Append(n.Name, event.Wiped{})
	return nil
}

// empty removes all that is in a folder. One that is not there is empty.
func empty(dir string) error {
	root, err := openFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, root.RemoveAll(filepath.Base(e.Name())))
	}
	return errors.Join(errs...)
}
