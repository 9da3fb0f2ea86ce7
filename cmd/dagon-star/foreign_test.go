//go:build unix

package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// foreignProgram is a program that knows nothing of a run: foreign WHAT HOST:PORT
// serves or calls there, by plain sockets, and prints what it meets.
func foreignProgram(args []string) int {
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--") })
	do := map[string]func(string) error{"serve": serveStreams, "stream": callStream, "ping": ping, "knock": knock, "hold": hold,
		"serve-udp": serveDatagrams, "udp": callDatagrams}
	if args[0] == "both" { // serves at the first address, and calls the second
		go serveStreams(args[1])
		args = []string{"ping", args[2]}
	}
	if err := do[args[0]](args[1]); err != nil {
		fmt.Println("error:", told(err))
		return 1
	}
	return 0
}

// hold makes 150 connections, has each echo a byte, and keeps them.
func hold(address string) error {
	var held []net.Conn
	for range 150 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		held = append(held, c)
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
	}
	fmt.Println("held", len(held))
	for _, c := range held { // until the other end closes it
		io.Copy(io.Discard, c)
	}
	return nil
}

// told is an error in one word.
func told(err error) string {
	for word, is := range map[string]error{"reset": syscall.ECONNRESET, "refused": syscall.ECONNREFUSED, "silence": os.ErrDeadlineExceeded} {
		if errors.Is(err, is) {
			return word
		}
	}
	return err.Error()
}

// serveStreams echoes what comes, and tells how each connection ended.
func serveStreams(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			sum := sha256.New()
			buf := make([]byte, 64<<10)
			for total := 0; ; {
				n, err := c.Read(buf)
				sum.Write(buf[:n])
				total += n
				if n > 0 { // a reset is told to a write or to a read, but once
					_, failed := c.Write(buf[:n])
					err = cmp.Or(err, failed)
				}
				if err == io.EOF {
					fmt.Printf("end of %d bytes %.8x\n", total, sum.Sum(nil))
					return
				}
				if err != nil {
					fmt.Println("end by", told(err))
					return
				}
			}
		}()
	}
}

// callStream sends 32 MiB, and reads as much.
func callStream(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	failed := make(chan error, 1)
	sent, got := sha256.New(), sha256.New()
	go func() {
		buf := make([]byte, 64<<10)
		for i := range 512 {
			for j := range buf {
				buf[j] = byte(i * j >> 3)
			}
			sent.Write(buf)
			if _, err := c.Write(buf); err != nil {
				failed <- err
				return
			}
			if i == 50 {
				fmt.Println("under way")
			}
		}
		failed <- c.(*net.TCPConn).CloseWrite()
	}()
	n, err := io.Copy(got, c)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	fmt.Printf("sent 33554432 bytes %.8x\n", sent.Sum(nil))
	fmt.Printf("read %d bytes %.8x\n", n, got.Sum(nil))
	return nil
}

// ping has messages echoed, one at a time, and tells how long each took; and of the
// silence where one takes over 200 ms.
func ping(address string) error {
	var c net.Conn
	for err := error(io.EOF); err != nil; { // until somebody answers
		if c, err = net.Dial("tcp", address); err != nil {
			continue
		}
		c.Write([]byte{7})
		if _, err = io.ReadFull(c, make([]byte, 1)); err != nil {
			c.Close()
		}
	}
	defer c.Close()
	for round := 0; ; round++ {
		began := time.Now()
		if _, err := c.Write([]byte{7}); err != nil {
			return err
		}
		b := make([]byte, 1)
		c.SetReadDeadline(began.Add(200 * time.Millisecond))
		_, err := io.ReadFull(c, b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Println("silence")
			c.SetReadDeadline(time.Time{})
			_, err = io.ReadFull(c, b)
		}
		if err != nil {
			return err
		}
		fmt.Printf("round %d took %d ms\n", round, time.Since(began).Milliseconds())
		time.Sleep(time.Millisecond) // or the log is long
	}
}

// knock makes connections again and again, and tells how each went: a second without an
// answer is silence, which on a busy machine a shorter time may be.
func knock(address string) error {
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Write([]byte{7})
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err = io.ReadFull(c, make([]byte, 1))
			c.Close()
		}
		if err == nil {
			fmt.Println("knock: answered")
		} else {
			fmt.Println("knock:", told(err))
		}
		time.Sleep(time.Millisecond)
	}
}

// serveDatagrams echoes what comes, and tells of each.
func serveDatagrams(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 100)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		fmt.Printf("%s from %s\n", buf[:n], from)
		c.WriteTo(buf[:n], from)
	}
}

// callDatagrams sends numbers and tells which of them come back, and whether twice.
func callDatagrams(address string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	last := ""
	for round := 0; ; round++ {
		number := fmt.Sprintf("datagram %d", round)
		if _, err := c.Write([]byte(number)); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		answer := ""
		for buf := make([]byte, 100); err == nil; {
			var n int
			if n, err = c.Read(buf); err == nil {
				if answer = string(buf[:n]); answer == last {
					fmt.Println("twice", strings.TrimPrefix(answer, "datagram "))
				}
				last = answer
			}
		}
		if answer == "" {
			fmt.Println("lost", round)
		} else {
			fmt.Println("back", answer)
		}
		err = nil
	}
}
