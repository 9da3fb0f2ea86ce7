package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/process"
)

func TestMain(m *testing.M) {
	if process.Keeper() {
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds what is to end by itself.
const patience = 20 * time.Second

// TestOutcome holds what decides an outcome, cell by cell.
func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		answer Answer
		sent   bool
		want   history.Outcome
	}{
		{Done, false, history.OK}, {Done, true, history.OK},
		{Refused, false, history.Fail}, {Refused, true, history.Fail},
		{Unsure, false, history.Info}, {Unsure, true, history.Info},
		{None, false, history.Fail}, {None, true, history.Info},
	} {
		if got := c.answer.Outcome(c.sent); got != c.want {
			t.Errorf("answer %d, sent %v: %s, want %s", c.answer, c.sent, got, c.want)
		}
	}
	for status, want := range map[int][2]Answer{
		101: {Done, Done}, 200: {Done, Done}, 202: {Done, Done}, 299: {Done, Done},
		300: {Refused, Unsure}, 301: {Refused, Unsure}, 302: {Refused, Unsure}, 303: {Refused, Unsure}, 304: {Done, Unsure},
		305: {Refused, Unsure}, 307: {Refused, Refused}, 308: {Refused, Refused}, 399: {Refused, Unsure},
		400: {Refused, Refused}, 404: {Refused, Refused}, 499: {Refused, Refused},
		500: {Unsure, Unsure}, 503: {Unsure, Unsure}, 999: {Unsure, Unsure},
	} {
		for method, want := range map[string]Answer{"GET": want[0], "HEAD": want[0], "OPTIONS": want[0], "TRACE": want[0],
			"POST": want[1], "PUT": want[1], "PATCH": want[1], "DELETE": want[1], "get": want[1]} {
			if got := statusAnswer(method, status); got != want {
				t.Errorf("%s, status %d: answer %d, want %d", method, status, got, want)
			}
		}
	}
	for _, c := range []struct {
		code   int
		signal string
		want   Answer
	}{
		{0, "", Done}, {1, "", Refused}, {122, "", Refused}, {123, "", Unsure}, {124, "", Unsure}, {125, "", Unsure},
		{126, "", Refused}, {127, "", Refused}, {128, "", Refused}, {129, "", Unsure}, {137, "", Unsure}, {143, "", Unsure},
		{192, "", Unsure}, {193, "", Refused}, {254, "", Refused}, {255, "", Unsure}, {-1, "KILL", Unsure}, {0, "KILL", Unsure},
	} {
		if got := exitAnswer(c.code, c.signal); got != c.want {
			t.Errorf("exit %d %s: answer %d, want %d", c.code, c.signal, got, c.want)
		}
	}
	if got := OutcomeOf(nil); got != history.OK {
		t.Errorf("OutcomeOf(nil) = %s", got)
	}
	if got := OutcomeOf(errors.New("x")); got != history.Info {
		t.Errorf("OutcomeOf(an error of another kind) = %s", got)
	}
}

// TestTrail holds what decides the outcome of an operation by those of its actions, cell
// by cell.
func TestTrail(t *testing.T) {
	const ok, fail, info = history.OK, history.Fail, history.Info
	type action struct {
		changes bool
		outcome history.Outcome
	}
	for _, c := range []struct {
		before []action
		want   [4]history.Outcome // where the last is ok, fail, info, or the word is fail
	}{
		{nil, [4]history.Outcome{ok, fail, info, fail}},
		{[]action{{false, ok}}, [4]history.Outcome{ok, fail, info, fail}},
		{[]action{{false, fail}}, [4]history.Outcome{ok, fail, info, fail}},
		{[]action{{false, info}}, [4]history.Outcome{ok, info, info, info}},
		{[]action{{true, ok}}, [4]history.Outcome{ok, info, info, fail}},
		{[]action{{true, fail}}, [4]history.Outcome{ok, fail, info, fail}},
		{[]action{{true, info}}, [4]history.Outcome{ok, info, info, info}},
		{[]action{{true, ok}, {false, ok}, {true, fail}}, [4]history.Outcome{ok, info, info, fail}},
		{[]action{{false, ok}, {true, fail}, {false, fail}}, [4]history.Outcome{ok, fail, info, fail}},
	} {
		whole := &Trail{}
		part := &Trail{Within: whole}
		for _, a := range c.before {
			part.Add(a.changes, a.outcome)
		}
		for _, trail := range []*Trail{whole, part} {
			for i, last := range []history.Outcome{ok, fail, info, fail} {
				got, why := trail.Outcome(last, i == 3)
				if got != c.want[i] || (why == "") != (got == last) {
					t.Errorf("after %v, the last is %s: %s %q, want %s", c.before, last, got, why, c.want[i])
				}
			}
		}
	}
}

// server is a server of raw connections, which ends with the test.
type server struct {
	address string
	mu      sync.Mutex
	calls   int
}

func (s *server) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// serve serves each connection by a call of handle, which may leave it open: all are
// closed at the end.
func serve(t *testing.T, handle func(net.Conn)) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, handle)
}

func serveOn(t *testing.T, listener net.Listener, handle func(net.Conn)) *server {
	s := &server{address: listener.Addr().String()}
	var all sync.WaitGroup
	var conns []net.Conn
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.calls++
			conns = append(conns, conn)
			s.mu.Unlock()
			all.Go(func() { handle(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
	return s
}

// reset closes a connection by a reset.
func reset(c net.Conn) {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// unused is an address at which nothing listens.
func unused(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// wants checks the outcome of an error, and what its text has.
func wants(t *testing.T, err error, outcome history.Outcome, texts ...string) {
	t.Helper()
	if got := OutcomeOf(err); got != outcome {
		t.Errorf("the outcome is %s, want %s: %v", got, outcome, err)
	}
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
}

// wantsMistake checks that an error is a *Mistake, and no outcome.
func wantsMistake(t *testing.T, err error) {
	t.Helper()
	var mistake *Mistake
	var not *Error
	if !errors.As(err, &mistake) || errors.As(err, &not) {
		t.Errorf("want a mistake: %v", err)
	}
}

// within is a context that ends what should have ended by itself.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("%s have passed", d))
	t.Cleanup(cancel)
	return ctx
}

// authority makes a certificate for 127.0.0.1, and the file that vouches for it.
func authority(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a node"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// TestErrorText holds what an error tells.
func TestErrorText(t *testing.T) {
	target := Target{Node: "n1", Endpoint: "api", Address: "127.0.0.1:80"}
	got := target.error(None, true, "POST /x", "the connection was reset", "an answer", errors.New("why")).Error()
	want := "POST /x on n1, endpoint api (127.0.0.1:80): the connection was reset; expected an answer: why [info: " +
		"nobody knows whether it was done]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = (&Error{Outcome: history.Fail, Action: "exec", Node: "n1", Problem: "it exited with code 1"}).Error()
	if want := "exec on n1: it exited with code 1 [fail: it was surely not done]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
