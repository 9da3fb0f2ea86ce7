package process

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rung is a rung of the containment ladder.
type Rung string

// The rungs, from the highest down.
const (
	Sealed     Rung = "sealed"
	Cgroup     Rung = "cgroup"
	Supervised Rung = "supervised"
	Bare       Rung = "bare"
)

// Auto is the highest rung that the machine gives.
const Auto = "auto"

// Containments are what Options.Contain may be.
func Containments() []string {
	return []string{Auto, string(Sealed), string(Cgroup), string(Supervised)}
}

// Containment is the rung that a driver is on.
type Containment struct {
	Rung    Rung
	Refused []Refusal // the rungs above it that the machine does not give
}

// Refusal is why a rung cannot be had.
type Refusal struct {
	Rung   Rung   `json:"rung"`
	Reason string `json:"reason"`
}

// Promise says in one sentence what a rung promises.
func (r Rung) Promise() string {
	switch r {
	case Sealed:
		return "the kernel ends every process of the run, whoever dies"
	case Cgroup:
		return "every process of the run ends with the orchestrator, unless its keeper is killed with it"
	case Supervised:
		return "every process of the run ends with the orchestrator, unless its keeper is killed with it"
	}
	return "nodes end with the orchestrator; what has left a node's process group may live on until the next run sweeps it"
}

// Options are what New makes a driver of.
type Options struct {
	// Run names what the driver makes outside of itself, such as control
	// groups. It is unique, and fit for a file's name.
	Run string
	// Contain is one of Containments, or Bare; "" is Auto.
	Contain string
}

// ContainError is a rung that was asked for and cannot be had.
type ContainError struct{ Refusal }

func (e *ContainError) Error() string {
	return fmt.Sprintf("containment %q cannot be had: %s", e.Rung, e.Reason)
}

// wanted are the rungs to try, in their order.
func (o Options) wanted() ([]Rung, error) {
	if o.Contain == "" || o.Contain == Auto {
		return []Rung{Sealed, Cgroup, Supervised, Bare}, nil
	}
	if !slices.Contains(append(Containments(), string(Bare)), o.Contain) {
		return nil, fmt.Errorf("containment is %q: expected one of %s", o.Contain, strings.Join(Containments(), ", "))
	}
	return []Rung{Rung(o.Contain)}, nil
}

// climb makes what the highest rung that can be had makes.
func climb[T any](o Options, make func(Rung) (T, error)) (made T, c Containment, err error) {
	wanted, err := o.wanted()
	if err != nil {
		return made, c, err
	}
	for _, rung := range wanted {
		if made, err = make(rung); err == nil {
			c.Rung = rung
			return made, c, nil
		}
		c.Refused = append(c.Refused, Refusal{Rung: rung, Reason: err.Error()})
	}
	return made, c, &ContainError{c.Refused[len(c.Refused)-1]}
}

// Add returns the moment d later.
func (m Moment) Add(d time.Duration) Moment {
	m.Ticks += uint64(d / (time.Second / ticks))
	return m
}
