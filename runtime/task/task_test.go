package task

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// real runs a program on a scheduler. busy is how long the machine is kept busy by a
// fault.
type real struct {
	p     program
	busy  func() int
	trace []string

	faults int
}

// nobody computes nothing.
type nobody struct{}

func (nobody) Interrupt(error) {}

var errGivenUp = errors.New("given up")

func (r *real) run(t *testing.T) []string {
	c := clock.New()
	defer c.Close()
	s := New(c)
	origin := time.Duration(0)
	var body func(ops []op) func(*Task)
	body = func(ops []op) func(*Task) {
		return func(x *Task) {
			if x.Path() == "m" {
				origin = x.Now()
			} else {
				defer func() { r.trace = append(r.trace, fmt.Sprintf("%s over %s", x.Path(), x.Now()-origin)) }()
			}
			var children []*Task
			for i, o := range ops {
				if x.Err() != nil {
					return
				}
				r.trace = append(r.trace, fmt.Sprintf("%s %d %s %s", x.Path(), i, o.kind, x.Now()-origin))
				switch o.kind {
				case "sleep":
					x.Sleep(o.d)
				case "apply":
					x.Apply(func() (func(context.Context) error, error) {
						return func(context.Context) error {
							for range r.busy() {
								runtime.Gosched()
							}
							return nil
						}, nil
					})
					r.faults++
				case "spawn":
					children = append(children, x.Spawn(o.d, nobody{}, body(r.p[o.of])))
				case "until":
					limit, lift := x.Limit(o.d)
					for r.faults < o.of && x.Poll(time.Second, nil) == nil && limit.at > x.Now() {
					}
					lift()
					x.Asked()
				case "join":
					x.Join(children[o.of], o.d)
				case "cancel":
					children[o.of].Cancel(errGivenUp)
				}
			}
		}
	}
	if err := s.Run(t.Context(), "m", time.Minute, nil, nobody{}, body(r.p[0])); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	r.trace = append(r.trace, fmt.Sprintf("m over %s", s.now-origin))
	s.mu.Unlock()
	s.Close(time.Minute)
	return r.trace
}

// TestOrder: what random programs of tasks do, in which order and at which script
// times, is what the model says, on a machine that has time and on one that has none.
// DAGON_TASK_PROGRAMS is how many; DAGON_TASK_SEED repeats them.
func TestOrder(t *testing.T) {
	programs := 1000
	if n, err := strconv.Atoi(os.Getenv("DAGON_TASK_PROGRAMS")); err == nil {
		programs = n
	}
	seed := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv("DAGON_TASK_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("seed %d", seed)
	for _, loaded := range []bool{false, true} {
		t.Run(fmt.Sprintf("loaded=%v", loaded), func(t *testing.T) {
			if loaded {
				defer load()()
			}
			kinds := map[string]int{}
			var mu sync.Mutex
			var running sync.WaitGroup
			places := make(chan struct{}, 32)
			for i := range programs {
				places <- struct{}{}
				running.Go(func() {
					defer func() { <-places }()
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					p := newProgram(random)
					want := (&model{p: p}).run()
					got := (&real{p: p, busy: func() int { return rand.IntN(50) }}).run(t)
					if !slices.Equal(got, want) {
						t.Errorf("program %d of seed %d:\n%sgot\n%v\nwant\n%v", i, seed, p, got, want)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, ops := range p {
						for _, o := range ops {
							kinds[o.kind]++
						}
					}
				})
			}
			running.Wait()
			t.Logf("of %d programs: %v", programs, kinds)
		})
	}
}

// load keeps all processors busy until the function that it returns is called.
func load() (stop func()) {
	quit := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		busy.Go(func() {
			for {
				for began := time.Now(); time.Since(began) < 200*time.Microsecond; {
				}
				select {
				case <-quit:
					return
				default:
					runtime.Gosched()
				}
			}
		})
	}
	return func() {
		close(quit)
		busy.Wait()
	}
}
