package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Hello is what a connection's first /ready says, and where it came in.
type Hello struct {
	Name        string
	Run         string // "" where it does not say
	Incarnation int    // 0 where it does not say
	Token       string // "" where it does not say

	ForNode        string // who the port was opened for, "" on a shared one
	ForIncarnation int
}

// Handler is told what happens. The calls for one connection come in order and
// one at a time; those for different connections come at the same time. They
// must not close the Server.
type Handler interface {
	// Ready decides whether a connection is the node's that it says. The error
	// is the reason why not. Once it is, everything of that connection is the
	// node's. It may take its time, but not once Conn.Stopping is closed.
	Ready(c *Conn, h Hello) error
	// Received is messages of a node, their addresses canonical, in the order in
	// which it sent them; the slice is good until it returns. The /ready that
	// identified the connection is not passed again.
	Received(c *Conn, m []*osc.Message)
	// Disconnected is the end of a node's connection, called once. cut says that
	// this side has closed it, for the reason.
	Disconnected(c *Conn, reason string, cut bool)
	// Refused is a connection or a message that was turned away.
	Refused(Refusal)
	// Paused is for how long of a time between two instants of Options.Clock a node was
	// paused. The node is the one that a connection has said it is or its port is for, ""
	// where neither is known, and it may be any.
	Paused(node string, from, to time.Duration) time.Duration
	// Stopped reports whether a node's process is stopped at this moment, by whom ever. It
	// is not asked where the node is not known.
	Stopped(node string) bool
	// Failed is a listener that went down by itself.
	Failed(err error)
}

// Refusal is a connection that was turned away, or a message of a node on a
// connection that goes on. One is told for each, or, for those beyond
// Options.MaxRefused, once a second with their number; Peer is then the host that they
// came from, "" for several.
type Refusal struct {
	Node    string // who the port or the connection belongs to, "" for a shared port
	Peer    string
	Reason  string
	Message bool
	More    int // messages that it stands for, where they were not told one by one
}

// Options are the limits of a Server; a zero field is the default.
type Options struct {
	Clock *clock.Clock // of the times below; nil is one of the Server's own

	IdentifyTimeout time.Duration // for a connection to say who it is; 10 s
	FrameTimeout    time.Duration // for a frame that has begun to end; 5 s
	WriteTimeout    time.Duration // for a node to take what it is sent; 5 s
	MaxFrame        int           // bytes; 64 KiB
	MaxFirstFrame   int           // bytes, of one who has not said who it is; 1 KiB, and never over MaxFrame
	MaxRefused      int           // refusals a second of one host's connections that are told one by one; 10

	// MaxUnidentified connections have not said who they are, or are being
	// turned away, at a time; 256. Another one waits to be accepted until the
	// oldest of them is gone, which gives way after GiveWayAfter; 100 ms. So a
	// node has that long to say who it is, whoever else comes.
	MaxUnidentified int
	GiveWayAfter    time.Duration

	// Spared are ports of the loopback that others will want.
	Spared []int
}

func (o Options) withDefaults() Options {
	if o.IdentifyTimeout <= 0 {
		o.IdentifyTimeout = 10 * time.Second
	}
	if o.FrameTimeout <= 0 {
		o.FrameTimeout = 5 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 5 * time.Second
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = osc.DefaultMaxFrame
	}
	if o.MaxFirstFrame <= 0 {
		o.MaxFirstFrame = 1 << 10
	}
	o.MaxFirstFrame = min(o.MaxFirstFrame, o.MaxFrame)
	if o.MaxRefused <= 0 {
		o.MaxRefused = 10
	}
	if o.MaxUnidentified <= 0 {
		o.MaxUnidentified = 256
	}
	if o.GiveWayAfter <= 0 {
		o.GiveWayAfter = 100 * time.Millisecond
	}
	return o
}

// Server is the control socket: any number of listening ports and connections.
// What it hears costs what osc.Decode says, and is kept by the Handler alone.
type Server struct {
	handler  Handler
	o        Options
	stop     context.Context // done when the Server closes
	cancel   context.CancelFunc
	running  sync.WaitGroup
	places   chan struct{} // one for each that is not identified, until the last of it is done
	over     sync.Once     // what is to be done when all have ended
	ownClock bool
	telling  sync.Mutex // held from counted refusals being taken until they are told

	mu        sync.Mutex
	closed    bool
	sockets   map[*socket]bool
	loopback  *socket // of the ports of their own; nil where there is none yet
	alone     bool    // there can be no such socket here: each port has its own
	conns     map[*Conn]bool
	accepted  int64
	strangers []*Conn           // they have not spoken yet; the oldest first
	refusals  map[source]*tally // of the present second; nil where none is counted
}

// New makes a Server that listens nowhere yet.
func New(h Handler, o Options) *Server {
	s := &Server{handler: h, o: o.withDefaults(), sockets: map[*socket]bool{}, conns: map[*Conn]bool{}}
	if s.ownClock = o.Clock == nil; s.ownClock {
		s.o.Clock = clock.New()
	}
	s.places = make(chan struct{}, s.o.MaxUnidentified)
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s
}

// Listen opens a port that all nodes share, such as "127.0.0.1:8080"; a host
// alone, or port 0, takes any free port.
func (s *Server) Listen(address string) (net.Addr, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "0")
	}
	l, err := listen(address)
	if err != nil {
		return nil, err
	}
	p, err := s.open(l, "", 0)
	if err != nil {
		return nil, err
	}
	return p.Addr(), nil
}

// ListenFor opens a port of its own for one incarnation of a node. Where the host is
// 127.0.0.1 it is, on Linux, another address of the loopback with the one port that
// all of these have, so that any number of them needs one file. Who knows the port
// alone, and calls 127.0.0.1, is told by what it says, as on one that nodes share.
func (s *Server) ListenFor(host, node string, incarnation int) (*Port, error) {
	if host == "127.0.0.1" {
		if p, err := s.listenOnLoopback(node, incarnation); p != nil || err != nil {
			return p, err
		}
	}
	l, err := listen(net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	return s.open(l, node, incarnation)
}

// unreadBytes is how much a node can say before any of it is read. A node that exits without
// having read all that it was sent resets its connection, by which what was not taken
// from it by then is lost (RFC 2525, 2.17).
const unreadBytes = 4 << 20

func listen(address string) (*osc.Listener, error) {
	l, err := osc.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	deepen(l.Listener, unreadBytes)
	return l, nil
}

// deepen has the connections that a listener accepts take so many bytes that nobody has
// read, or as many as the machine allows.
func deepen(l net.Listener, bytes int) {
	s, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { setReceiveBuffer(fd, bytes) })
	}
}

// open makes a port of a listener of its own.
func (s *Server) open(l *osc.Listener, node string, incarnation int) (*Port, error) {
	k := &socket{s: s, listener: l}
	k.only = &Port{socket: k, addr: l.Addr(), node: node, incarnation: incarnation, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(k); err != nil {
		return nil, err
	}
	return k.only, nil
}

// start accepts what comes to a socket. The lock is held.
func (s *Server) start(k *socket) error {
	if s.closed {
		k.listener.Close()
		return net.ErrClosed
	}
	s.sockets[k] = true
	s.running.Go(k.accept)
	return nil
}

// Close closes all ports and connections and returns when every goroutine of
// the Server has ended. Nodes still connected are told to the Handler as
// disconnected.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for k := range s.sockets {
		k.listener.Close()
	}
	for c := range s.conns {
		c.Close("the run has ended")
	}
	s.mu.Unlock()
	s.running.Wait()
	s.over.Do(func() {
		s.tellCounted()
		if s.ownClock {
			s.o.Clock.Close()
		}
	})
	return nil
}

// Settle returns when what had been said before the call has been handled: on the
// connections that are given and, where it is of interest who has connected, on all
// those to the ports that are given and to those that nodes share; or when ctx is done, or
// the Server closes. It takes as long as there is something to be read of what had been
// said, at most 16 MiB of each connection, and as the Handler takes.
func (s *Server) Settle(ctx context.Context, conns []*Conn, ports []*Port, shared bool) {
	s.mu.Lock()
	var sockets []*socket
	add := func(k *socket) {
		if !slices.Contains(sockets, k) {
			sockets = append(sockets, k)
		}
	}
	for _, p := range ports {
		add(p.socket)
	}
	for k := range s.sockets {
		if shared && (k.only == nil || k.only.node == "") {
			add(k)
		}
	}
	s.mu.Unlock()
	if len(sockets) > 0 {
		accepted := make(chan struct{})
		s.running.Go(func() {
			defer close(accepted)
			for _, k := range sockets {
				k.settle()
			}
		})
		select {
		case <-accepted:
		case <-s.stop.Done():
			return
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		for c := range s.conns {
			if shared && c.port.node == "" || slices.Contains(ports, c.port) {
				conns = append(conns, c)
			}
		}
		s.mu.Unlock()
	}
	looked := make([]<-chan struct{}, len(conns))
	for i, c := range conns {
		looked[i] = c.line.look()
	}
	for i, c := range conns {
		select {
		case <-looked[i]:
		case <-c.closed:
		case <-s.stop.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// Port is one listening port.
type Port struct {
	socket      *socket
	addr        net.Addr
	node        string
	incarnation int
	done        chan struct{} // nothing more is accepted for it
	conns       sync.WaitGroup
	refused     bool // one of its connections; guarded by the Server's lock
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.addr }

// Close stops listening. Connections that were made before it are still
// accepted and served; that may wait for calls of the Handler, so it is not to
// be called with a lock that these take.
func (p *Port) Close() error {
	k := p.socket
	k.settle()
	if k.only == p {
		err := k.listener.Close()
		<-p.done
		return err
	}
	k.remove(p)
	return nil
}

// Heard is closed when the port is closed and its connections have ended.
func (p *Port) Heard() <-chan struct{} {
	heard := make(chan struct{})
	p.socket.s.running.Go(func() {
		<-p.done
		p.conns.Wait()
		close(heard)
	})
	return heard
}

// socket is a listener, of one port or of many.
type socket struct {
	s        *Server
	listener *osc.Listener
	only     *Port // nil where it is of many

	// Guarded by the Server's lock.
	ports map[netip.Addr]*Port // by their addresses, where they are many
	given int                  // how many addresses have been

	settling sync.Mutex // one at a time
	mu       sync.Mutex
	waiting  chan struct{} // closed when the next settling has ended; nil where nobody waits for it
}

// settle returns when every connection that was made before the call has been taken
// in. Where that fails nobody can connect either. Who comes while it is being done
// waits for the next time together.
func (k *socket) settle() {
	k.mu.Lock()
	settled := k.waiting
	if settled != nil {
		k.mu.Unlock()
		<-settled
		return
	}
	settled = make(chan struct{})
	k.waiting = settled
	k.mu.Unlock()
	k.settling.Lock()
	defer k.settling.Unlock()
	k.mu.Lock()
	k.waiting = nil
	k.mu.Unlock()
	k.listener.Settle()
	close(settled)
}

// of finds which port a connection has come to; nil where it is nobody's. Until the
// connection is done with, the port has not heard all.
func (k *socket) of(c net.Conn) *Port {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	p := k.only
	if p == nil {
		p = k.ports[addressOf(c.LocalAddr())]
	}
	if p != nil {
		p.conns.Add(1)
	}
	return p
}

func (k *socket) accept() {
	defer func() {
		k.listener.Close()
		k.s.mu.Lock()
		delete(k.s.sockets, k)
		for _, p := range k.ports {
			close(p.done)
		}
		k.ports = nil
		k.s.mu.Unlock()
		if k.only != nil {
			close(k.only.done)
		}
	}()
	wait := time.Duration(0)
	for {
		c, err := k.listener.Accept()
		switch {
		case err == nil:
			wait = 0
			if p := k.of(c); p != nil {
				k.s.serve(p, c)
			} else {
				k.s.turnAway(c)
			}
		case errors.Is(err, net.ErrClosed):
			return
		case temporary(err):
			// Out of file descriptors, or a connection that was reset before
			// it was accepted: what waits in the queue is not lost.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-k.s.stop.Done():
				timer.Stop()
				return
			}
		default:
			k.s.handler.Failed(fmt.Errorf("%s no longer listens: %w", k.listener.Addr(), err))
			return
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// serve takes a connection of a port in, once there is a place for it.
func (s *Server) serve(p *Port, nc net.Conn) {
	if !s.place() {
		nc.Close()
		p.conns.Done()
		return
	}
	c := &Conn{s: s, port: p, peer: nc.RemoteAddr().String(), since: s.o.Clock.Now(),
		spoken: make(chan struct{}), closed: make(chan struct{})}
	c.line = &line{Conn: nc, clock: s.o.Clock, paused: c.paused, stopped: c.stopped}
	c.osc = osc.NewConn(c.line, osc.ConnOptions{MaxFrame: s.o.MaxFirstFrame, FrameTimeout: s.o.FrameTimeout, WriteTimeout: s.o.WriteTimeout})
	c.osc.SetReadDeadline(time.Now().Add(s.o.IdentifyTimeout))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.osc.Close()
		p.conns.Done()
		return
	}
	s.accepted++
	c.number = s.accepted
	s.conns[c] = true
	s.strangers = append(s.strangers, c)
	s.running.Go(func() {
		defer p.conns.Done()
		c.run()
	})
}

// place waits for a place among those who are not identified; false where the
// Server closes. To wait here is what keeps a crowd from taking memory: it is
// accepted no faster than those before it are gone.
func (s *Server) place() bool {
	for {
		select {
		case s.places <- struct{}{}:
			return true
		default:
		}
		timer := time.NewTimer(s.giveWay())
		select {
		case s.places <- struct{}{}:
			timer.Stop()
			return true
		case <-timer.C:
		case <-s.stop.Done():
			timer.Stop()
			return false
		}
	}
}

// giveWay closes the oldest stranger if it has had its time, and returns when
// one may have to be closed next.
func (s *Server) giveWay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strangers) == 0 { // those who have the places are about to leave them
		return s.o.GiveWayAfter
	}
	oldest := s.strangers[0]
	if wait := oldest.since + s.o.GiveWayAfter - s.o.Clock.Now(); wait > 0 {
		return wait
	}
	s.strangers = s.strangers[1:]
	oldest.Close(fmt.Sprintf("it had not said who it is, and %d others after it had not either", s.o.MaxUnidentified))
	return s.o.GiveWayAfter
}

// heard takes a connection off the strangers, for it has spoken or ended; false
// where it has given way already.
func (s *Server) heard(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.strangers, c)
	if i < 0 {
		return false
	}
	s.strangers = slices.Delete(s.strangers, i, i+1)
	return true
}
