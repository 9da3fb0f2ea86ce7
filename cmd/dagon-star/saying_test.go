//go:build unix

package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// saying is a node that says what it is told to, byte for byte, step by step:
//
//	dial             connect, and say its name
//	connect          connect, and say nothing
//	common           connect to the port at 127.0.0.1, which is no node's own address there
//	prove            say its name, with the token
//	swap             go on with the connection that was set aside by the last swap, if any
//	mark N           read the clock that all processes share, and remember that as N
//	say ADDRESS …    a message with those arguments: numbers, @N for what was read as N,
//	                 nil, nan, or strings
//	flood N ADDRESS  as many messages, numbered from 0
//	again N ADDRESS  as many connections that say one message each, and close
//	frame HEX        a frame of those bytes
//	half HEX         the first half of a frame of those bytes
//	rest             the second
//	bytes HEX        those bytes
//	odd N            as many messages to /sum that have a type tag of no type
//	ended            wait for the end of the connection
//	hear ADDRESS     wait for a message to it
//	unread           wait until something has come, and leave it there
//	print TEXT · wait MS · close · exit CODE
//	serve            answer /start and /shutdown until the end; every list should end so, or by exit
func saying(config component.Config, steps string) int {
	s := &speaker{config: config}
	for step := range strings.SplitSeq(steps, ", ") {
		if code, over := s.step(strings.Fields(step)); over {
			return code
		}
	}
	return 9
}

type speaker struct {
	config component.Config
	conn   net.Conn
	reader *osc.Reader
	aside  net.Conn
	rest   []byte // of half a frame
	marks  map[string]int64
}

func (s *speaker) connect(address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	s.conn, s.reader = c, osc.NewReader(c, 0)
}

func (s *speaker) write(b []byte) {
	if _, err := s.conn.Write(b); err != nil {
		fmt.Println("cannot write:", err)
	}
}

func packet(address string, args ...any) []byte {
	p, err := osc.Append(nil, osc.NewMessage(address, args...))
	if err != nil {
		panic(err)
	}
	return p
}

func framed(p []byte) []byte { return osc.AppendFrame(nil, osc.SizePrefix, p) }

func (s *speaker) dial() {
	s.connect(s.config.PhoneHome)
	s.write(framed(packet("/ready", s.config.Name)))
}

// hear returns the next address that is said to the node, "" at the end.
func (s *speaker) hear() string {
	p, err := s.reader.Next()
	if err != nil {
		return ""
	}
	v, err := osc.Parse(p)
	if err != nil {
		panic(err)
	}
	return string(v.Address())
}

func (s *speaker) step(words []string) (code int, over bool) {
	number := func(i int) int {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			panic(err)
		}
		return n
	}
	switch words[0] {
	case "dial":
		s.dial()
	case "connect":
		s.connect(s.config.PhoneHome)
	case "common":
		_, port, _ := net.SplitHostPort(s.config.PhoneHome)
		s.connect(net.JoinHostPort("127.0.0.1", port))
	case "prove":
		s.write(framed(packet("/ready", s.config.Name, s.config.Run, int32(s.config.Incarnation), s.config.Token)))
	case "swap":
		if s.conn, s.aside = s.aside, s.conn; s.conn != nil {
			s.reader = osc.NewReader(s.conn, 0)
		}
	case "say":
		var args []any
		for _, word := range words[2:] {
			n, err := strconv.ParseInt(word, 10, 32)
			switch {
			case err == nil:
				args = append(args, int32(n))
			case word[0] == '@':
				args = append(args, s.marks[word[1:]])
			case word == "nil":
				args = append(args, nil)
			case word == "nan":
				args = append(args, math.NaN())
			default:
				args = append(args, word)
			}
		}
		s.write(framed(packet(words[1], args...)))
	case "mark":
		if s.marks == nil {
			s.marks = map[string]int64{}
		}
		s.marks[words[1]] = clock.Monotonic()
	case "flood":
		var all []byte
		for i := range number(1) {
			if all = append(all, framed(packet(words[2], int32(i)))...); len(all) > 1<<15 {
				s.write(all)
				all = all[:0]
			}
		}
		s.write(all)
	case "again":
		for i := range number(1) {
			s.dial()
			s.write(framed(packet(words[2], int32(i))))
			s.conn.Close()
		}
	case "frame", "half", "bytes":
		p, err := hex.DecodeString(words[1])
		if err != nil {
			panic(err)
		}
		if words[0] != "bytes" {
			p = framed(p)
		}
		if words[0] == "half" {
			s.rest = p[len(p)/2:]
			p = p[:len(p)/2]
		}
		s.write(p)
	case "rest":
		s.write(s.rest)
	case "hear":
		for s.hear() != words[1] {
		}
	case "ended":
		for s.hear() != "" {
		}
	case "odd":
		for range number(1) {
			s.write(framed([]byte("/sum\x00\x00\x00\x00,Z\x00\x00")))
		}
	case "unread":
		raw, err := s.conn.(*net.TCPConn).SyscallConn()
		if err == nil {
			err = raw.Read(func(fd uintptr) bool {
				_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
				return err != unix.EAGAIN
			})
		}
		if err != nil {
			panic(err)
		}
	case "print":
		fmt.Println(strings.Join(words[1:], " "))
	case "wait":
		time.Sleep(time.Duration(number(1)) * time.Millisecond)
	case "close":
		s.conn.Close()
	case "exit":
		return number(1), true
	case "serve":
		for {
			switch s.hear() {
			case "/start":
				s.write(framed(packet("/done", s.config.Name)))
			case "/shutdown":
				s.write(framed(packet("/done_shutdown", s.config.Name)))
				return 0, true
			case "":
				return 0, true
			}
		}
	default:
		fmt.Fprintf(os.Stderr, "no such step: %q\n", words)
		return 9, true
	}
	return 0, false
}
