package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// maxCA is how many bytes a file of certificates may have.
const maxCA = 4 << 20

// Target is where an action goes to.
type Target struct {
	Node     string // its name, for errors
	Endpoint string // its name, for errors
	Address  string // host:port
	// TLS has the connection encrypted. Who answers has to prove that it is the host of
	// the Address, by a certificate that CA vouches for.
	TLS bool
	CA  string // a file of PEM certificates; "" is those of the system
}

func (t Target) error(a Answer, sent bool, action, problem, expected string, err error) *Error {
	return &Error{Outcome: a.Outcome(sent), Action: action, Node: t.Node, Endpoint: t.Endpoint, Address: t.Address,
		Problem: problem, Expected: expected, Err: err}
}

// dial connects to the target. Of an action that fails here nothing was sent.
func (t Target) dial(ctx context.Context, action string) (*link, error) {
	fail := func(problem, expected string, err error) (*link, error) {
		return nil, t.error(None, false, action, problem, expected, err)
	}
	var roots *x509.CertPool
	if t.TLS && t.CA != "" {
		pem, err := userfile.Read(t.CA, maxCA)
		if err != nil {
			return fail("the CA file cannot be read", "", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return fail(fmt.Sprintf("the CA file %s has no certificate", t.CA), "one as PEM, which begins with -----BEGIN CERTIFICATE-----", nil)
		}
	}
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil {
		return fail("the address is none", "host:port", err)
	}
	// A dialer that sees a deadline ends by it a moment before the context does.
	undated, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	var dialer net.Dialer
	conn, err := dialer.DialContext(undated, "tcp", t.Address)
	if err != nil {
		var unknown *net.DNSError
		if errors.As(err, &unknown) && ctx.Err() == nil {
			return fail("the host "+host+" was not found", "", err)
		}
		if ctx.Err() != nil {
			return fail("no connection came about before it was given up", "", context.Cause(ctx))
		}
		problem, cause := ioProblem(ctx, err)
		return fail(problem, "", cause)
	}
	m := &meter{Conn: conn}
	if !t.TLS {
		return &link{Conn: m, meter: m}, nil
	}
	secure := tls.Client(m, &tls.Config{RootCAs: roots, ServerName: host})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return fail("the TLS handshake was not over before it was given up", "", context.Cause(ctx))
		}
		return fail("the TLS handshake failed", "", err)
	}
	m.n.Store(0) // the handshake is none of the action
	return &link{Conn: secure, meter: m}, nil
}

// link is a connection that knows how many bytes have left by it.
type link struct {
	net.Conn
	meter *meter
}

// written is how many bytes the system has taken for the other side so far.
func (l *link) written() int64 { return l.meter.n.Load() }

// abort closes the connection without a word to the other side, which TLS would wait for.
func (l *link) abort() { l.meter.Conn.Close() }

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// until bounds what is done with the connection by a context: when that is done, reads
// and writes fail. release ends it; the connection can be used further then, by a
// context of its own.
func (l *link) until(ctx context.Context, set func(time.Time) error) (release func()) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		set(aLongTimeAgo)
	})
	return func() {
		if !stop() {
			<-fired
		}
		set(time.Time{})
	}
}

// meter counts what is written to a connection.
type meter struct {
	net.Conn
	n atomic.Int64
}

func (m *meter) Write(p []byte) (n int, err error) {
	n, err = m.Conn.Write(p)
	m.n.Add(int64(n))
	return n, err
}
