package live

import (
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Run is what a Screen shows of a run. Observe may be called from another goroutine.
type Run struct {
	mu      sync.Mutex
	state   State
	view    View
	logs    logs
	elapsed func() time.Duration // of the run; nil as long as it is not known
}

// Started tells where the run's folder is, and what its time is.
func (r *Run) Started(folder string, elapsed func() time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs.folder, r.elapsed = folder, elapsed
}

// Observe takes an event of the run. It holds nobody up.
func (r *Run) Observe(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Apply(e)
}

// Frame is the table, or what else is looked at.
func (r *Run) Frame(lines []string, width, height int) []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.state.Now
	if r.elapsed != nil {
		now = max(now, r.elapsed())
	}
	out := Outputs{Last: map[string]string{}}
	switch r.view.Page {
	case Table:
		for _, n := range r.state.Nodes {
			out.Last[n.Name] = r.logs.lastLine(n.Name)
		}
	case Output:
		out.Open = r.logs.lines(r.view.Node)
	}
	return Frame(&r.state, &r.view, now, out, lines, width, height)
}

// Key does what a key does.
func (r *Run) Key(k Key, height int) Act {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := 0
	if r.view.Page == Output {
		lines = len(r.logs.lines(r.view.Node))
	}
	return r.view.Key(k, &r.state, height, lines)
}
