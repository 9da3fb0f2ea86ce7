// Package component is the Go side of the protocol that dagon-star speaks with
// the nodes of a topology: phone home, say ready, wait for start, say done, and
// shut down when told.
//
// A component is a process like any other. What it needs to know is in its
// environment:
//
//	config, err := component.FromEnvironment(os.Getenv, "", "")
//	...
//	home, err := component.Dial(ctx, config)
//	...
//	defer home.Close()
//	home.Ready()
//	select {
//	case <-home.Started():
//		work()
//		home.Done()
//	case <-home.Stop():
//	}
//	<-home.Stop()
//	home.DoneShutdown()
package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Config says who the component is and where it reports to.
type Config struct {
	Name        string
	PhoneHome   string // host:port
	Run         string // the run's id; "" is not sent
	Incarnation int    // 0 is not sent
	Token       string // "" is not sent
}

// FromEnvironment makes a Config from the variables that every node finds in
// its environment: DAGON_NAME, DAGON_PHONE_HOME, DAGON_RUN, DAGON_INCARNATION
// and DAGON_TOKEN. A name and phoneHome that are not empty, as flags may give
// them, come before the environment's.
func FromEnvironment(getenv func(string) string, name, phoneHome string) (Config, error) {
	c := Config{Name: cmp.Or(name, getenv("DAGON_NAME")), PhoneHome: cmp.Or(phoneHome, getenv("DAGON_PHONE_HOME")),
		Run: getenv("DAGON_RUN"), Token: getenv("DAGON_TOKEN")}
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("it does not know its name: give it --name, or DAGON_NAME in its environment"))
	}
	if c.PhoneHome == "" {
		errs = append(errs, errors.New("it does not know where to report to: give it --phone-home=HOST:PORT, or "+
			"DAGON_PHONE_HOME in its environment"))
	}
	if s := getenv("DAGON_INCARNATION"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("DAGON_INCARNATION is %q, a positive number was expected", s))
		}
		c.Incarnation = n
	}
	return c, errors.Join(errs...)
}

// ErrLost is why a component stops whose control connection has gone.
var ErrLost = errors.New("the control connection was lost")

const (
	writeTimeout = 5 * time.Second
	// backlog is how many messages of the user's own wait to be taken before
	// the connection is no longer read.
	backlog = 64
)

// Home is the connection to the orchestrator. Its methods may be called from
// any goroutine.
type Home struct {
	config   Config
	conn     *osc.Conn
	started  chan struct{}
	stop     chan struct{}
	messages chan *osc.Message
	closing  chan struct{}
	reading  sync.WaitGroup

	operations atomic.Int64 // so far
	mu         sync.Mutex
	hasStarted bool
	hasStopped bool
	why        error
}

// Dial connects to the orchestrator; Ready then says who is there.
func Dial(ctx context.Context, c Config) (*Home, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.PhoneHome)
	if err != nil {
		return nil, fmt.Errorf("cannot phone home: %w", err)
	}
	h := &Home{config: c, conn: osc.NewConn(conn, osc.ConnOptions{Framing: osc.SizePrefix, WriteTimeout: writeTimeout}),
		started: make(chan struct{}), stop: make(chan struct{}), closing: make(chan struct{}),
		messages: make(chan *osc.Message, backlog)}
	h.reading.Go(h.read)
	return h, nil
}

func (h *Home) read() {
	err := h.receive()
	if err == nil || errors.Is(err, io.EOF) {
		err = ErrLost
	} else {
		err = fmt.Errorf("%w: %w", ErrLost, err)
	}
	h.stopped(err)
	close(h.messages)
}

func (h *Home) receive() error {
	for {
		packet, err := h.conn.Receive()
		var broken *osc.ProtocolError
		if errors.As(err, &broken) && !broken.EndsStream {
			continue
		}
		if err != nil {
			return err
		}
		for v, err := range osc.Messages(packet) {
			if err == nil && !h.take(&v) {
				return nil
			}
		}
	}
}

// take handles a message. It is false where the connection is being closed.
func (h *Home) take(v *osc.View) bool {
	switch string(v.Address()) {
	case control.AddressStart:
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.hasStarted {
			h.hasStarted = true
			close(h.started)
		}
	case control.AddressShutdown:
		h.stopped(nil)
	default:
		select {
		case h.messages <- v.Message():
		case <-h.closing:
			return false
		}
	}
	return true
}

func (h *Home) stopped(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.hasStopped {
		h.hasStopped, h.why = true, why
		close(h.stop)
	}
}

// Started is closed when the orchestrator has said start.
func (h *Home) Started() <-chan struct{} { return h.started }

// Stop is closed when the orchestrator has said shutdown, or is lost.
func (h *Home) Stop() <-chan struct{} { return h.stop }

// StopReason is why the component is to stop, once Stop is closed: nil where it
// was told to, else ErrLost.
func (h *Home) StopReason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

// Messages are the user's own messages, all but start and shutdown, those in
// bundles too; what cannot be decoded is passed over. It is closed when the
// connection is. One who does not take them holds up start and
// shutdown after 64.
func (h *Home) Messages() <-chan *osc.Message { return h.messages }

// Ready says that the component is ready, and who it is. It must be the first
// that is sent, when all that others will connect to is listening.
func (h *Home) Ready() error {
	args := []any{h.config.Name}
	if h.config.Run != "" {
		args = append(args, h.config.Run)
		if h.config.Incarnation != 0 {
			args = append(args, int32(h.config.Incarnation))
			if h.config.Token != "" {
				args = append(args, h.config.Token)
			}
		}
	}
	return h.Send(osc.NewMessage(control.AddressReady, args...))
}

// TopologyReady says that all of a leader's workers have signed in.
func (h *Home) TopologyReady() error { return h.say(control.AddressTopologyReady) }

// Done says that the component has done its work.
func (h *Home) Done() error { return h.say(control.AddressDone) }

// DoneShutdown says that the component has shut down, and will exit.
func (h *Home) DoneShutdown() error { return h.say(control.AddressDoneShutdown) }

// Count says how many messages the component has handled so far.
func (h *Home) Count(n int64) error {
	return h.Send(osc.NewMessage(control.AddressCount, h.config.Name, n))
}

func (h *Home) say(address string) error { return h.Send(osc.NewMessage(address, h.config.Name)) }

// Send sends a message of the user's own.
func (h *Home) Send(m *osc.Message) error {
	if err := h.conn.Send(m); err != nil {
		return fmt.Errorf("cannot send %s home: %w", m.Address, err)
	}
	return nil
}

// Close closes the connection.
func (h *Home) Close() error {
	h.mu.Lock()
	select {
	case <-h.closing:
	default:
		close(h.closing)
	}
	h.mu.Unlock()
	err := h.conn.Close()
	h.reading.Wait()
	return err
}
