//go:build linux

// Command oracle is a node of TestOracle. It reacts to what it is told, and to
// what happens to it, with the words that its flags give: --on-shutdown="answer,
// exit 5" is what it does when it is told to shut down. See oracleNode there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
)

type node struct {
	on          map[string]string
	serve, peer string
	home        *component.Home
}

func main() {
	n := &node{on: map[string]string{}}
	for _, a := range os.Args[1:] {
		key, value, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if to, ok := strings.CutPrefix(key, "on-"); ok {
			n.on[to] = value
		}
		switch key {
		case "serve":
			n.serve = value
		case "peer":
			n.peer = value
		}
	}
	config, err := component.FromEnvironment(os.Getenv, "", "")
	if err == nil {
		err = n.run(config)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(9)
}

// run returns where the control connection cannot be made. Else the node lives
// until a reaction or a signal ends it.
func (n *node) run(config component.Config) error {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	signals := make(chan os.Signal, 16)
	for _, name := range []string{"HUP", "INT", "QUIT", "ABRT", "SEGV", "USR1", "USR2", "TERM"} {
		s := process.ParseSignal(name)
		if _, handled := n.on[name]; handled {
			signal.Notify(signals, s)
		} else {
			defaultAction(s)
		}
	}
	if n.serve != "" {
		l, err := net.Listen("tcp", n.serve)
		if err != nil {
			return err
		}
		go echo(l)
	}
	fmt.Println("up") // it hears signals now
	n.react("boot")
	var started, stop <-chan struct{}
	var messages <-chan *osc.Message
	if n.on["boot"] != "never" {
		var err error
		if n.home, err = component.Dial(context.Background(), config); err != nil {
			return err
		}
		n.home.Ready()
		n.react("ready")
		started, stop, messages = n.home.Started(), n.home.Stop(), n.home.Messages()
	}
	for {
		select {
		case s := <-signals:
			n.react(process.SignalName(s.(syscall.Signal)))
		case <-started:
			started = nil
			n.react("start")
		case <-stop:
			stop = nil
			if n.home.StopReason() == nil {
				n.react("shutdown")
			}
		case m, ok := <-messages:
			if !ok {
				messages = nil
			} else if text, ok := m.Arguments[0].(string); ok && m.Address == "/do" {
				n.perform(text)
			}
		}
	}
}

func (n *node) react(to string) { n.perform(n.on[to]) }

func (n *node) perform(reaction string) {
	for word := range strings.SplitSeq(reaction, ", ") {
		verb, object, _ := strings.Cut(word, " ")
		switch verb {
		case "", "never":
		case "done":
			n.home.Done()
		case "answer":
			n.home.DoneShutdown()
		case "say":
			n.home.Send(osc.NewMessage("/" + object))
		case "talk":
			go func() {
				for range time.Tick(20 * time.Millisecond) {
					n.home.Send(osc.NewMessage("/tick"))
				}
			}()
		case "hold":
			if err := hold(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(9)
			}
		case "call":
			n.home.Send(osc.NewMessage("/" + n.call()))
		case "exit":
			code, _ := strconv.Atoi(object)
			os.Exit(code)
		default:
			s := process.ParseSignal(verb)
			defaultAction(s)
			syscall.Kill(os.Getpid(), s)
			select {}
		}
	}
}

// call reaches the other node through their link, and returns what came of it. The
// connection has been closed from both ends by then, so that nothing of it is left
// for a fault to hold.
func (n *node) call() string {
	to, err := net.Dial("tcp", n.peer)
	if err != nil {
		return "refused"
	}
	defer to.Close()
	text := make([]byte, 8)
	_, err = to.Write(text)
	err = errors.Join(err, to.(*net.TCPConn).CloseWrite())
	if back, failed := io.ReadAll(to); err != nil || failed != nil || len(back) != len(text) {
		return "refused"
	}
	return "called"
}

func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}

// hold starts a process in a session of its own that keeps the output and the
// control connection open, and outlives the node: when that has exited, it writes
// "gone".
func hold() error {
	lives, _, err := os.Pipe() // the other end is open as long as the node is
	if err != nil {
		return err
	}
	keep := exec.Command("sh", "-c", "read x <&3; echo gone; exec sleep 60")
	keep.Stdout, keep.ExtraFiles = os.Stdout, []*os.File{lives}
	keep.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	files, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range files {
		if target, _ := os.Readlink(name); !strings.HasPrefix(target, "socket:") {
			continue
		}
		fd, _ := strconv.Atoi(filepath.Base(name))
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return err
		}
		keep.ExtraFiles = append(keep.ExtraFiles, os.NewFile(uintptr(fd), name))
	}
	return keep.Start()
}

// defaultAction undoes what Go's runtime does about a signal: it makes an exit
// with 2 of many.
func defaultAction(s syscall.Signal) {
	var none [64]byte // SIG_DFL, no flags, no mask
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
}
