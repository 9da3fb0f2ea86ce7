package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// server is a server that knows nothing of dagon-star. It answers at each address that it
// is given; one may have a way before it, as tls=ADDRESS:
//
//	tls   by TLS, with a certificate that it writes to ca.pem first
//	slam  it resets each connection as it comes
//
// A request, of HTTP or a line, says how it is answered, by its path or its first word:
//
//	NNN                  with that status, and for 3xx a Location
//	reset, close         with the end of the connection
//	half, half-reset     with half an answer, and then that
//	garbage              with what is no answer
//	silent               not at all
//	say TEXT             with the text, however that ends
//	anything else        with what was asked
//
// As server ask ADDRESS LINE it is a client that prints the answer.
//
// Whatever was asked is written to the file seen, a line each, before it is answered.
func server(args []string) int {
	if len(args) == 3 && args[0] == "ask" {
		return ask(args[1], args[2])
	}
	s := &strangeServer{}
	var err error
	if s.seen, err = os.OpenFile("seen", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	for _, address := range args {
		way, at, ok := strings.Cut(address, "=")
		if !ok {
			way, at = "", address
		}
		l, err := net.Listen("tcp", at)
		if err == nil && way == "tls" {
			l, err = secured(l)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		go s.accept(l, way)
	}
	fmt.Println("serving")
	select {}
}

// ask prints what a server answers to a line.
func ask(address, line string) int {
	c, err := net.Dial("tcp", address)
	if err == nil {
		fmt.Fprintln(c, line)
		var answer string
		if answer, err = bufio.NewReader(c).ReadString('\n'); err == nil {
			fmt.Print(answer)
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// secured has a listener speak TLS.
func secured(l net.Listener) (net.Listener, error) {
	host, _, _ := net.SplitHostPort(l.Addr().String())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(host)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}), nil
}

type strangeServer struct {
	mu   sync.Mutex
	seen *os.File
}

func (s *strangeServer) accept(l net.Listener, way string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if way == "slam" {
			reset(c)
			continue
		}
		go func() {
			defer c.Close()
			for r := bufio.NewReader(c); s.serve(c, r); {
			}
		}()
	}
}

func reset(c net.Conn) {
	if c, ok := c.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	c.Close()
}

// asked is a request.
type asked struct {
	Method, Path, Body string
	Header             map[string]string
}

// serve answers a request, and reports whether the connection goes on.
func (s *strangeServer) serve(c net.Conn, r *bufio.Reader) bool {
	line, err := r.ReadString('\n')
	if err != nil {
		return false
	}
	line = strings.TrimRight(line, "\r\n")
	words := strings.Fields(line)
	isHTTP := len(words) == 3 && strings.HasPrefix(words[2], "HTTP/1.")
	what := line
	request := asked{Header: map[string]string{}}
	if isHTTP {
		request.Method, request.Path = words[0], words[1]
		for {
			head, err := r.ReadString('\n')
			if err != nil {
				return false
			}
			name, value, ok := strings.Cut(strings.TrimSpace(head), ":")
			if !ok {
				break
			}
			request.Header[strings.ToLower(name)] = strings.TrimSpace(value)
		}
		length, _ := strconv.Atoi(request.Header["content-length"])
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return false
		}
		request.Body = string(body)
		what, _, _ = strings.Cut(strings.TrimPrefix(request.Path, "/"), "?")
	}
	s.mu.Lock()
	fmt.Fprintln(s.seen, what)
	s.mu.Unlock()
	half := "he"
	if isHTTP {
		half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
	}
	first, rest, _ := strings.Cut(what, " ")
	status, notStatus := strconv.Atoi(first)
	switch {
	case first == "reset":
		reset(c)
		return false
	case first == "close":
		return false
	case first == "half":
		fmt.Fprint(c, half)
		return false
	case first == "half-reset":
		fmt.Fprint(c, half)
		reset(c)
		return false
	case first == "garbage":
		fmt.Fprint(c, "\x00\x01 what\r\n\r\n")
		return false
	case first == "silent":
		r.ReadByte()
		return false
	case first == "say":
		fmt.Fprint(c, strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(rest))
	case !isHTTP:
		fmt.Fprintln(c, "asked", line)
	case notStatus == nil:
		where := ""
		if status >= 300 && status < 400 {
			where = "Location: /200\r\n"
		}
		fmt.Fprintf(c, "HTTP/1.1 %d Whatever\r\n%sContent-Length: 8\r\n\r\nsaid %d", status, where, status)
	default:
		body, _ := json.Marshal(request)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Back: yes\r\nX-Back: twice\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	return true
}
