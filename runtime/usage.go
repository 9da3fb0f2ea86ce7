package runtime

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// shareOfLooks bounds what looks at usage take: after one that took so long, so many times
// that passes until the next.
const shareOfLooks = 20

// sampler logs what the nodes use, as often as the setting usage says.
type sampler struct {
	sampling sync.WaitGroup
	end      context.CancelFunc
}

// sample begins to. Where the driver cannot tell, nothing is logged.
func (r *Run) sample() {
	meter, tells := r.drivers.process.(process.Meter)
	if !tells || r.cfg.Settings.Usage <= 0 {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	r.sampler.end = end
	r.sampler.sampling.Go(func() {
		for pause := r.cfg.Settings.Usage; ; {
			passed, stop := r.clock.After(pause)
			select {
			case <-passed:
			case <-ctx.Done():
				stop()
				return
			}
			began := r.Elapsed()
			if err := r.sampleOnce(ctx, meter); err != nil {
				if errors.Is(err, errors.ErrUnsupported) {
					return
				}
			}
			pause = max(r.cfg.Settings.Usage, shareOfLooks*(r.Elapsed()-began))
		}
	})
}

// stopSampling waits until nothing more is logged.
func (r *Run) stopSampling() {
	if r.sampler.end != nil {
		r.sampler.end()
		r.sampler.sampling.Wait()
	}
}

// sampleOnce logs what each node uses that runs. What ends meanwhile is passed over.
func (r *Run) sampleOnce(ctx context.Context, meter process.Meter) error {
	var all []node.Incarnation
	r.j.Lock()
	for _, n := range r.order {
		if i, runs := n.Present(); runs {
			all = append(all, i)
		}
	}
	r.j.Unlock()
	if len(all) == 0 {
		return nil
	}
	processes := make([]process.Process, len(all))
	for i, of := range all {
		processes[i] = of.Process
	}
	used, err := meter.Usage(ctx, processes)
	if err != nil {
		return err
	}
	r.j.Lock()
	defer r.j.Unlock()
	for i, of := range all {
		now, runs := of.Node.Present()
		if u := used[i]; runs && now.Process == of.Process && u.Processes > 0 {
			r.j.Append(of.Node.Spec.Name, event.Usage{
				CPUS: u.CPU.Truncate(time.Microsecond).Seconds(), MemoryBytes: u.Memory, Processes: u.Processes,
			})
		}
	}
	return nil
}
