package probe

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// TestConnectTimeout holds that what waited for a connection alone was not sent.
func TestConnectTimeout(t *testing.T) {
	client := NewClient(Target{Address: fullListener(t)}, 0)
	defer client.Close()
	_, err := client.Do(within(t, 50*time.Millisecond), Request{Method: "POST", Body: []byte("x")})
	wants(t, err, history.Fail, "no connection", "50ms have passed")
}

// fullListener is the address of a socket whose queue is full, so that to connect to it
// is not answered.
func fullListener(t *testing.T) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*unix.SockaddrInet4).Port))
	conn, err := net.Dial("tcp", address) // the one for which there is room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return address
}

// TestCAFile holds that a file of certificates that nobody writes to holds up nothing.
func TestCAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Dial(within(t, patience), Target{Address: "127.0.0.1:1", TLS: true, CA: path}, 0)
	wants(t, err, history.Fail, "the CA file cannot be read", "a regular file was expected")
}
