//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// evil starts what a careless program may: a child, one in a session of its own,
// and two daemons that were forked twice and three times, the last of them with
// an empty environment. All have closed their files and are deaf to every
// signal that can be ignored. $1 tells whose they are.
const evil = `
trap "" TERM HUP INT
exec <&- >&- 2>&-
sleep "$1" &
setsid sleep "$1" &
(setsid sh -c 'sleep "$1" & exit' sh "$1" &)
((setsid env -i PATH="$PATH" setsid sh -c '(sleep "$1" &) & exit' sh "$1" &) &)
`

// child is a node that behaves as --mode says, well or ill.
func child(args []string) int {
	mode, name, phoneHome, steps := "", "", "", ""
	for _, a := range args {
		for flag, to := range map[string]*string{"--mode=": &mode, "--name=": &name, "--phone-home=": &phoneHome, "--steps=": &steps} {
			if v, ok := strings.CutPrefix(a, flag); ok {
				*to = v
			}
		}
	}
	config, err := component.FromEnvironment(os.Getenv, name, phoneHome)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	switch mode {
	case "saying":
		return saying(config, steps)
	case "evil":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		if err := exec.Command("sh", "-c", evil, "sh", os.Getenv("EVIL")).Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 9
		}
	case "late": // an incarnation that is gone
		config.Name, config.Incarnation = "a", 1
	case "never-ready":
		fmt.Println("thinking about it")
		time.Sleep(time.Hour)
	case "exit-0-before-ready":
		fmt.Println("nothing to do")
		return 0
	case "grandchild-holds-pipe":
		// It leaves the group, keeps the pipe, and outlives its parent.
		c := exec.Command("sleep", "1000")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			return 9
		}
		fmt.Println("grandchild", c.Process.Pid)
	case "grandchild-in-group":
		c := exec.Command("sleep", "1000")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			return 9
		}
	case "other-name":
		config.Name = "somebody-else"
	case "ignore-all":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	case "done-shutdown-and-stay":
		signal.Ignore(syscall.SIGTERM)
	case "slip", "numbers", "slip-numbers":
		return foreign(config, strings.Contains(mode, "slip"), strings.Contains(mode, "numbers"))
	case "deaf": // it reads nothing of what it is sent
		c, err := net.Dial("tcp", config.PhoneHome)
		if err != nil {
			return 9
		}
		ready, _ := osc.Append(nil, osc.NewMessage(control.AddressReady, config.Name))
		c.Write(osc.AppendFrame(nil, osc.SizePrefix, ready))
		time.Sleep(time.Hour)
	case "garbage":
		c, err := net.Dial("tcp", config.PhoneHome)
		if err != nil {
			return 9
		}
		c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		c.Read(make([]byte, 1))
		time.Sleep(time.Hour)
	}
	home, err := component.Dial(context.Background(), config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	defer home.Close()
	home.Ready()
	switch mode {
	case "late":
		<-home.Stop()
		fmt.Println("refused", home.StopReason())
		time.Sleep(time.Hour)
	case "watch":
		for m := range home.Messages() {
			if m.Address == "/look" {
				home.Send(osc.NewMessage("/states", states(os.Getenv("LOOK"))))
			}
		}
	case "exit-3-after-ready":
		fmt.Println("line one")
		fmt.Fprintln(os.Stderr, "the disk is on fire")
		return 3
	case "exit-3-at-start":
		<-home.Started()
		fmt.Fprintln(os.Stderr, "the disk is on fire")
		return 3
	case "crash-at-start":
		<-home.Started()
		fmt.Fprint(os.Stderr, "last words without a newline")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	case "ready-twice":
		home.Ready()
	case "done-before-start":
		home.Done()
	case "close-control":
		home.Close()
		time.Sleep(time.Hour)
	case "flood":
		line := bytes.Repeat([]byte("x"), 1<<20)
		for range 50 {
			os.Stdout.Write(line)
		}
		os.Stdout.Write([]byte("the end"))
	case "ignore-all", "other-name":
		time.Sleep(time.Hour)
	case "done-shutdown-and-stay":
		<-home.Stop()
		home.DoneShutdown()
		time.Sleep(time.Hour)
	case "slow-shutdown":
		<-home.Stop()
		home.Send(osc.NewMessage("/going"))
		time.Sleep(2 * time.Second)
		home.DoneShutdown()
	case "exit-5-after-shutdown":
		<-home.Stop()
		home.DoneShutdown()
		return 5
	case "done-shutdown-unasked": // as Giles Sender of 2016 does
		<-home.Started()
		home.DoneShutdown()
		return 0
	case "stops-keeper": // and leaves a daemon to it
		c := exec.Command("sleep", "1000")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			return 9
		}
		fmt.Println("there are", c.Process.Pid, os.Getppid())
		syscall.Kill(os.Getppid(), syscall.SIGSTOP)
	case "quick":
		<-home.Started()
		home.Done()
		return 0
	case "echo":
		go func() {
			for m := range home.Messages() {
				home.Send(osc.NewMessage("/echo"+m.Address, m.Arguments...))
			}
		}()
	case "operating":
		operate(home)
	case "loading":
		load(home, steps)
	case "counting":
		go func() {
			for i := 0; ; i++ {
				fmt.Printf("tick %d\n", i)
				home.Count(int64(i))
				select {
				case <-time.After(5 * time.Millisecond):
				case <-home.Stop():
					return
				}
			}
		}()
	}
	select {
	case <-home.Started():
		home.Done()
	case <-home.Stop():
	}
	<-home.Stop()
	if home.StopReason() != nil {
		return 8
	}
	home.DoneShutdown()
	return 0
}

// states are those of the processes that were started with a word in their
// command line, or as EVIL in their environment.
func states(word string) string {
	all := ""
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		stat, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err == nil && (bytes.Contains(environ, []byte("EVIL="+word+"\x00")) || bytes.HasSuffix(cmdline, []byte("\x00"+word+"\x00"))) {
			all += string(stat[bytes.LastIndexByte(stat, ')')+2])
		}
	}
	return all
}

// foreign is a node that speaks SLIP, or the numbers of 2016, and expects to be
// answered so.
func foreign(config component.Config, slip, numbers bool) int {
	c, err := net.Dial("tcp", config.PhoneHome)
	if err != nil {
		return 9
	}
	framing, dialect := osc.SizePrefix, control.Names
	if slip {
		framing = osc.SLIP
	}
	if numbers {
		dialect = control.Numbers
	}
	say := func(address string) {
		packet, err := osc.Append(nil, osc.NewMessage(dialect.Address(address), config.Name))
		if err != nil {
			panic(err)
		}
		for _, b := range osc.AppendFrame(nil, framing, packet) { // a byte at a time
			c.Write([]byte{b})
		}
	}
	say(control.AddressReady)
	r := osc.NewReader(c, 0)
	for {
		packet, err := r.Next()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 7
		}
		v, err := osc.Parse(packet)
		if err != nil || r.Framing() != framing {
			fmt.Fprintln(os.Stderr, "answered in", r.Framing(), err)
			return 6
		}
		switch string(v.Address()) {
		case dialect.Address(control.AddressStart):
			say(control.AddressDone)
		case dialect.Address(control.AddressShutdown):
			say(control.AddressDoneShutdown)
			return 0
		default:
			fmt.Fprintln(os.Stderr, "answered", string(v.Address()))
			return 5
		}
	}
}
