package component_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dagon is an orchestrator of one node: it starts whoever is ready, and shuts
// down whoever is done.
type dagon struct {
	hello    chan control.Hello
	messages chan string
	conn     chan *control.Conn
}

func (d *dagon) Ready(c *control.Conn, h control.Hello) error {
	d.hello <- h
	d.conn <- c
	return c.Send(osc.NewMessage(control.AddressStart))
}

func (d *dagon) Received(c *control.Conn, all []*osc.Message) {
	for _, m := range all {
		d.messages <- fmt.Sprint(m.Address, m.Arguments)
		if m.Address == control.AddressDone {
			c.Send(osc.NewMessage(control.AddressShutdown, c.Name()))
		}
	}
}

func (d *dagon) Disconnected(_ *control.Conn, reason string, _ bool)       { d.messages <- reason }
func (d *dagon) Refused(r control.Refusal)                                 { d.messages <- "refused: " + r.Reason }
func (d *dagon) Paused(string, time.Duration, time.Duration) time.Duration { return 0 }
func (d *dagon) Stopped(string) bool                                       { return false }
func (d *dagon) Failed(err error)                                          { d.messages <- err.Error() }

func orchestrate() (*dagon, string, func() error) {
	d := &dagon{make(chan control.Hello, 1), make(chan string, 100), make(chan *control.Conn, 1)}
	s := control.New(d, control.Options{})
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return d, addr.String(), s.Close
}

func Example() {
	d, address, close := orchestrate() // dagon-star, in a real node
	defer close()

	config, err := component.FromEnvironment(os.Getenv, "my-node", address)
	if err != nil {
		fmt.Println(err)
		return
	}
	home, err := component.Dial(context.Background(), config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer home.Close()
	home.Ready()
	select {
	case <-home.Started():
		fmt.Println("working")
		home.Done()
	case <-home.Stop():
	}
	<-home.Stop()
	fmt.Println("shutting down", home.StopReason())
	home.DoneShutdown()

	fmt.Println((<-d.hello).Name, <-d.messages, <-d.messages)
	// Output:
	// working
	// shutting down <nil>
	// my-node /done[my-node] /done_shutdown[my-node]
}

func TestReadySaysAll(t *testing.T) {
	d, address, stop := orchestrate()
	defer stop()
	home, err := component.Dial(context.Background(), component.Config{Name: "n", PhoneHome: address, Run: "r", Incarnation: 3, Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if err := home.Ready(); err != nil {
		t.Fatal(err)
	}
	if h := <-d.hello; h.Name != "n" || h.Run != "r" || h.Incarnation != 3 || h.Token != "t" {
		t.Errorf("%+v", h)
	}
	home.Count(1 << 40)
	home.TopologyReady()
	if a, b := <-d.messages, <-d.messages; a != "/count[n 1099511627776]" || b != "/topology_ready[n]" {
		t.Errorf("%s, %s", a, b)
	}
	c := <-d.conn
	c.Send(osc.NewMessage("/my/own", int32(7)))
	if m := <-home.Messages(); m.Address != "/my/own" || m.Arguments[0] != int32(7) {
		t.Errorf("%v", m)
	}
}

// TestOddMessages: what cannot be decoded is passed over, and a bundle is heard.
func TestOddMessages(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	home, err := component.Dial(context.Background(), component.Config{Name: "n", PhoneHome: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bundle, err := osc.AppendPacket(nil, osc.Packet{Bundle: &osc.Bundle{Elements: []osc.Packet{
		{Message: osc.NewMessage("/start")}, {Message: osc.NewMessage("/own", int32(7))}}}})
	if err != nil {
		t.Fatal(err)
	}
	stream := []byte("\x00\x00\x00\x00\x00\x00\x00\x03abc\x00\x00\x00\x08/x\x00\x00,z\x00\x00")
	stream = osc.AppendFrame(stream, osc.SizePrefix, bundle)
	c.Write(osc.AppendFrame(stream, osc.SizePrefix, []byte("/shutdown\x00\x00\x00"))) // without type tags
	if m := <-home.Messages(); m == nil || m.Address != "/own" || m.Arguments[0] != int32(7) {
		t.Errorf("%v", m)
	}
	<-home.Started()
	if <-home.Stop(); home.StopReason() != nil {
		t.Errorf("it stops as %v", home.StopReason())
	}
}

func TestLost(t *testing.T) {
	d, address, stop := orchestrate()
	home, err := component.Dial(context.Background(), component.Config{Name: "n", PhoneHome: address})
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	home.Ready()
	<-d.hello
	stop()
	<-home.Stop()
	if !errors.Is(home.StopReason(), component.ErrLost) {
		t.Errorf("%v", home.StopReason())
	}
	for range home.Messages() { // it is closed
	}
	if _, err := component.Dial(context.Background(), component.Config{Name: "n", PhoneHome: address}); err == nil {
		t.Error("it phones home where nobody is")
	}
}

func TestFromEnvironment(t *testing.T) {
	env := map[string]string{"DAGON_NAME": "a", "DAGON_PHONE_HOME": "h:1", "DAGON_RUN": "r", "DAGON_INCARNATION": "2", "DAGON_TOKEN": "t"}
	get := func(k string) string { return env[k] }
	if c, err := component.FromEnvironment(get, "", ""); err != nil ||
		c != (component.Config{Name: "a", PhoneHome: "h:1", Run: "r", Incarnation: 2, Token: "t"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := component.FromEnvironment(get, "b", "x:2"); err != nil || c.Name != "b" || c.PhoneHome != "x:2" {
		t.Errorf("flags: %+v, %v", c, err)
	}
	env = map[string]string{"DAGON_INCARNATION": "x"}
	_, err := component.FromEnvironment(get, "", "")
	for _, want := range []string{"DAGON_NAME", "DAGON_PHONE_HOME", `DAGON_INCARNATION is "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}
