package linearization

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Fault is what a picture shows beside the operations.
type Fault struct {
	Name     string
	From, To time.Duration // times of the run
}

// ErrNoPicture is what Picture returns for a finding of which there is none: one that
// is not invalid, or that is about too many operations.
var ErrNoPicture = errors.New("there is no picture: it shows a key that failed, with at most 1,000 operations")

// Picture writes a page in HTML that needs no other file. It shows the first key
// that failed, up to where it failed: the operations, in the longest order that was
// found of them, and the faults. It may take as long as a check.
func (f *Finding) Picture(ctx context.Context, w io.Writer, faults []Fault) error {
	if f.picture == nil || len(f.picture) > mostDrawn {
		return ErrNoPicture
	}
	ctx, cancel := f.options.Within(ctx, f.options.TimeLimit, errTime)
	defer cancel()
	s := &search{ctx: ctx, machine: f.machine, limit: f.options.MemoryLimit}
	_, info, err := s.run(f.picture, true)
	if err != nil {
		return fmt.Errorf("no picture: %w", err)
	}
	annotations := make([]porcupine.Annotation, len(faults))
	for i, fault := range faults {
		annotations[i] = porcupine.Annotation{
			Tag: "faults", Description: fault.Name, Details: fmt.Sprintf("%v – %v", fault.From, fault.To),
			Start: int64(fault.From), End: int64(fault.To), BackgroundColor: "#ffd9c2",
		}
	}
	info.AddAnnotations(annotations)
	// The orders are gone through once more, to tell their states, which must not end.
	s = &search{ctx: context.WithoutCancel(ctx), machine: f.machine, limit: math.MaxInt64, states: map[string]*state{}}
	return porcupine.Visualize(s.model(), info, w)
}
