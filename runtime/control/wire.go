// Package control is the control socket of a run: it listens, finds out which
// node is on which connection, and passes messages on in one vocabulary,
// whatever dialect and framing the node speaks. What a message means, and
// whether a node is believed, is the engine's affair.
//
// The protocol is OSC 1.0 messages over TCP, framed by a size prefix or by
// SLIP, with the addresses below. Dagon of 2016, the orchestrator of the Buffy
// stream processor, used the numbers of its wire messages as addresses; a node
// that speaks them is answered in them.
package control

// The addresses of the protocol.
const (
	AddressReady         = "/ready"          // s name, then optionally s run, i incarnation, s token: to dagon
	AddressTopologyReady = "/topology_ready" // s name: to dagon, from a leader whose workers have all signed in
	AddressStart         = "/start"          // to a component
	AddressShutdown      = "/shutdown"       // s name: to a component
	AddressDoneShutdown  = "/done_shutdown"  // s name: to dagon
	AddressDone          = "/done"           // s name: to dagon
	AddressCount         = "/count"          // s name, h messages so far: to dagon
	AddressInvoke        = "/invoke"         // h operation, s process, s f, key, value, h at: to dagon; those from key on may be left out
	AddressOK            = "/ok"             // h operation, result, h at: to dagon; those from result on may be left out
	AddressFail          = "/fail"           // h operation, s error, h at: to dagon, as /ok; it was surely not done
	AddressInfo          = "/info"           // h operation, s error, h at: to dagon, as /ok; nobody knows
	AddressData          = "/data"           // s or b payload, optionally h id: component to component
	AddressAck           = "/ack"            // h id: component to component
	AddressEnd           = "/end"            // s name: component to component, nothing follows
)

// Dialect is the set of addresses that a node speaks.
type Dialect uint8

// The dialects.
const (
	Names   Dialect = iota // the addresses above
	Numbers                // those of 2016
)

// numbers are the 2016 addresses: the numbers of the wire messages.
var numbers = map[string]string{
	AddressData:          "/1",
	AddressReady:         "/2",
	AddressTopologyReady: "/3",
	AddressStart:         "/4",
	AddressShutdown:      "/5",
	AddressDoneShutdown:  "/6",
	AddressDone:          "/7",
}

var names = func() map[string]string {
	m := map[string]string{}
	for name, number := range numbers {
		m[number] = name
	}
	return m
}()

// Canonical returns an address in the present protocol's names, and the dialect
// it was in. An address of the user's own is as it was, and in Names.
func Canonical(address string) (string, Dialect) {
	if name, ok := names[address]; ok {
		return name, Numbers
	}
	return address, Names
}

// Address returns a canonical address as the dialect has it.
func (d Dialect) Address(name string) string {
	if number, ok := numbers[name]; ok && d == Numbers {
		return number
	}
	return name
}
