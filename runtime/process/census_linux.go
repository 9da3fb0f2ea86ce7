package process

import (
	"sync"
	"time"
)

// census takes looks at the machine's processes, one for all who wait for one.
type census struct {
	mu      sync.Mutex
	waiting []chan looked // for the next look
	looking sync.WaitGroup
	busy    bool
}

// looked is what a look has shown.
type looked struct {
	all []stat
	err error
}

// look returns what a look shows that began after the call. A machine runs many
// processes, and many of a run's may end at the same time: no more than a fifth
// of the time goes into looks.
func (l *local) look() ([]stat, error) {
	c := &l.census
	seen := make(chan looked, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, seen)
	if !c.busy {
		c.busy = true
		c.looking.Go(l.lookOut)
	}
	c.mu.Unlock()
	look := <-seen
	return look.all, look.err
}

func (l *local) lookOut() {
	c := &l.census
	for {
		c.mu.Lock()
		waiting := c.waiting
		if c.waiting = nil; len(waiting) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		began := time.Now()
		all, err := l.processes()
		for i := range all {
			all[i].environment, _ = all[i].environ() // nil is read again
		}
		took := min(time.Since(began), longestBeat) // of which a suspension is none
		for _, seen := range waiting {
			seen <- looked{all, err}
		}
		time.Sleep(4 * took)
	}
}
