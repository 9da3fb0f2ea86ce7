package probe

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func listenNotify(t *testing.T, path string, users ...uint32) *Notify {
	t.Helper()
	n, err := ListenNotify(path, users...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shortPath is a path that a socket can have.
func shortPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	return filepath.Join(dir, "notify")
}

// send sends messages to a socket, each in a datagram.
func send(t *testing.T, n *Notify, messages ...string) {
	t.Helper()
	conn, err := net.Dial("unixgram", n.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, m := range messages {
		if _, err := conn.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

func (t *told) saysReady() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// TestNotify holds what counts as ready, at a path and where that is too long for one.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		messages []string
		ready    bool
		status   string
	}{
		{[]string{"READY=1"}, true, ""},
		{[]string{"READY=1\n"}, true, ""},
		{[]string{"STATUS=loading 5 %", "STATUS=up\nMAINPID=5\nREADY=1\nX_Y=\x00"}, true, "up"},
		{[]string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=5", "READY=1", "STOPPING=1"}, true, ""},
		{[]string{"READY=0", "READY=11", "XREADY=1", " READY=1", "ready=1", "STATUS=READY=1", "", "\n", "RELOADING=1", "MAINPID=1"},
			false, "READY=1"},
		{[]string{strings.Repeat("x", 32<<10) + "\nREADY=1"}, true, ""},
		{[]string{strings.Repeat("x", 64<<10) + "\nREADY=1"}, false, ""},
		{[]string{"STATUS=" + strings.Repeat("é", 32<<9)}, false, strings.Repeat("é", 512)},
		{[]string{"STATUS=caf\xe9"}, false, "caf\ufffd"},
		{nil, false, ""},
	} {
		for _, path := range []string{shortPath(t), filepath.Join(t.TempDir(), strings.Repeat("long/", 30), "notify")} {
			n := listenNotify(t, path)
			send(t, n, c.messages...)
			if err := n.Close(); err != nil { // what was sent has been heard then
				t.Error(err)
			}
			if got := n.saysReady(); got != c.ready || n.Status() != c.status {
				t.Errorf("%.80q: ready %v, status %q", c.messages, got, n.Status())
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("the socket's file is left")
			}
			if conn, err := net.Dial("unixgram", n.Address()); err == nil {
				conn.Close()
				t.Error("the socket is open after its end")
			}
		}
	}
}

// TestNotifyOpen holds that ready is told while the socket is open, and that a path is
// taken over from an incarnation that was not closed.
func TestNotifyOpen(t *testing.T) {
	path := shortPath(t)
	before := listenNotify(t, path)
	n := listenNotify(t, path)
	defer n.Close()
	before.Close() // which must leave the other one's file
	send(t, n, "READY=1")
	<-n.Ready()
	if before.saysReady() {
		t.Error("the incarnation before is ready")
	}
	if err := os.WriteFile(path+"2", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenNotify(path + "2"); err == nil {
		t.Error("a file was taken for a socket")
	}
}

// TestNotifyFiles holds that the files that come with a message are closed.
func TestNotifyFiles(t *testing.T) {
	n := listenNotify(t, shortPath(t))
	defer n.Close()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	own := os.NewFile(uintptr(ends[0]), "pipe")
	defer own.Close()
	conn, err := net.Dial("unixgram", n.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	many := make([]int, maxFiles)
	for i := range many {
		many[i] = ends[1]
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), []byte("BARRIER=1"), unix.UnixRights(many...), nil, 0) })
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(ends[1])
	if _, err := own.Read(make([]byte, 1)); err == nil || err.Error() != "EOF" { // waits until all are closed
		t.Error(err)
	}
}

// TestNotifyStranger holds that a message of another user does not count.
func TestNotifyStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to be two users takes root")
	}
	program, err := exec.LookPath("systemd-notify")
	if err != nil {
		t.Skip(err)
	}
	as := func(n *Notify, user uint32) {
		t.Helper()
		c := exec.Command(program, "--ready", "--status=up")
		c.Env = append(os.Environ(), NotifyVariable+"="+n.Address())
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, path := range []string{shortPath(t), filepath.Join(t.TempDir(), strings.Repeat("long/", 30))} {
		n := listenNotify(t, path, 65533)
		as(n, 65534)
		as(n, 65534)
		if n.saysReady() || n.Status() != "" {
			t.Error("a stranger's message counts")
		}
		if messages, user := n.Strangers(); messages < 2 || user != 65534 {
			t.Errorf("%d messages of strangers, the last of user %d", messages, user)
		}
		as(n, 65533)
		if <-n.Ready(); n.Status() != "up" {
			t.Errorf("status %q", n.Status())
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
