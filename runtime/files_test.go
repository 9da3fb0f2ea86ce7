package runtime

import (
	"slices"
	"syscall"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func TestNeed(t *testing.T) {
	piped, terminal := &topology.Node{}, &topology.Node{TTY: true}
	for _, test := range []struct {
		specs             []*topology.Node
		open, unconnected int
		rung              process.Rung
		want              Need
	}{
		{nil, 7, 0, process.Sealed, Need{Open: 7}},
		{[]*topology.Node{piped}, 7, 0, process.Sealed, Need{Open: 7, Outputs: 2, Connections: 1, Passing: 6}},
		{[]*topology.Node{terminal}, 7, 0, process.Cgroup, Need{Open: 7, Outputs: 1, Connections: 1, Passing: 6}},
		{[]*topology.Node{piped, terminal, piped}, 7, 4, process.Supervised, Need{Open: 7, Outputs: 5, Connections: 7, Passing: 18}},
		{[]*topology.Node{piped, terminal}, 7, 0, process.Bare, Need{Open: 7, Outputs: 3, Connections: 2, Ends: 2, Passing: 12}},
		{slices.Repeat([]*topology.Node{piped}, 1000), 7, 0, process.Sealed, Need{Open: 7, Outputs: 2000, Connections: 1000, Passing: 160}},
	} {
		if got := needFor(test.specs, test.open, test.unconnected, test.rung); got != test.want {
			t.Errorf("%+v, want %+v", got, test.want)
		}
	}
}

func TestFilesError(t *testing.T) {
	for _, test := range []struct {
		e    FilesError
		want string
	}{
		{FilesError{Nodes: make([]string, 5000), Need: Need{Open: 20, Outputs: 10_000, Connections: 5000, Passing: 100}, Limit: 4096},
			"cannot fork 5000 nodes: that takes 15120 open files, and this process may have 4096: 20 are open, " +
				"10000 are for the nodes' output, 5000 for their control connections, 100 for what is open for a moment only; " +
				"raise the limit to 15120 or more: by ulimit -n in the shell, by LimitNOFILE= of a service, by --ulimit nofile= of a container"},
		{FilesError{Nodes: []string{"db"}, Need: Need{Open: 64, Outputs: 1, Connections: 1, Ends: 1}, Limit: 64, Err: syscall.EMFILE},
			"too many open files\n  cannot fork db: that takes 67 open files, and this process may have 64: 64 are open, " +
				"1 are for the nodes' output, 1 for their control connections, 1 to hear of their ends; " +
				"raise the limit to 67 or more: by ulimit -n in the shell, by LimitNOFILE= of a service, by --ulimit nofile= of a container"},
		{FilesError{Nodes: []string{"db"}, Need: Need{Open: 64, Linked: 20, Outputs: 2, Connections: 1}, Limit: 64, Links: true},
			"cannot fork db: that takes 67 open files, and this process may have 64: 64 are open (40 of them for 20 connections through links), " +
				"2 are for the nodes' output, 1 for their control connections; raise the limit to 67 or more, and by 2 for each further " +
				"connection through a link: by ulimit -n in the shell, by LimitNOFILE= of a service, by --ulimit nofile= of a container"},
		{FilesError{Nodes: []string{"db"}, Need: Need{Open: 64, Linked: 1}, Limit: 63},
			"cannot fork db: that takes 64 open files, and this process may have 63: 64 are open (2 of them for a connection through a link); " +
				"raise the limit to 64 or more: by ulimit -n in the shell, by LimitNOFILE= of a service, by --ulimit nofile= of a container"},
	} {
		if got := test.e.Error(); got != test.want {
			t.Errorf("%s\nwant\n%s", got, test.want)
		}
	}
}
