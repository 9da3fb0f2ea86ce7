package component

import (
	"fmt"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Operation is an operation on the system under test that a component has begun. Exactly
// one of OK, Fail and Info ends it. Where the component ends before, nobody knows what
// became of it.
type Operation struct {
	home   *Home
	number int64
}

// Invoke tells the run that a process of the component, such as one of its goroutines,
// begins an operation on the system under test, and is to be called before that does
// anything: f is what is done, as "write", key what it is done to, and value what it is
// done with. Keys and values are nil, bool, int32, int64, float64, string, or an
// osc.Array of these. A process does one operation at a time; after one that ends in
// Info it may go on under its name, and counts as another.
//
// Its time is that of the call, on the clock that all processes of a machine share.
func (h *Home) Invoke(process, f string, key, value any) (*Operation, error) {
	o := &Operation{home: h, number: h.operations.Add(1)}
	return o, h.operation(control.AddressInvoke, o.number, process, f, key, value)
}

// OK tells that the operation was done, and what came back; nil for nothing.
func (o *Operation) OK(result any) error {
	return o.home.operation(control.AddressOK, o.number, result)
}

// Fail tells that the operation was surely not done, and why.
func (o *Operation) Fail(why error) error {
	return o.home.operation(control.AddressFail, o.number, text(why))
}

// Info tells that nobody knows whether the operation was done, or will be, and why.
func (o *Operation) Info(why error) error {
	return o.home.operation(control.AddressInfo, o.number, text(why))
}

func text(why error) any {
	if why == nil {
		return nil
	}
	return fmt.Sprint(why)
}

// operation sends a message about an operation, with the time.
func (h *Home) operation(address string, args ...any) error {
	at := clock.Monotonic()
	return h.Send(osc.NewMessage(address, append(args, at)...))
}
