package process

import (
	"os"
	"syscall"
)

// remote is a tree whose leader is a keeper's child.
type remote struct {
	keeper *kept
	id     uint64
	number int
	tag    string
	ended  func(Exit)
	done   chan struct{}
}

func (c *remote) pid() int { return c.number }

func (c *remote) end(e Exit) {
	close(c.done)
	go c.ended(e) // the driver waits for it, and others are not to
}

func (c *remote) ask(r request) (reply, error) {
	select {
	case <-c.done:
		return reply{}, os.ErrProcessDone
	default:
	}
	r.Child = c.id
	return c.keeper.ask(r, nil)
}

// alive asks the kernel, and not the keeper, which may be stopped or busy: who
// asks holds up others.
func (c *remote) alive() bool {
	select {
	case <-c.done:
		return false
	default:
	}
	return !c.keeper.proc.isEnding(c.number)
}

func (c *remote) act(r request) (reached int, err error) {
	answer, err := c.ask(r)
	return answer.Reached, err
}

func (c *remote) resume() error {
	_, err := c.ask(request{Op: opResume})
	return err
}

func (c *remote) signal(s syscall.Signal, to Reach) (reached int, err error) {
	return c.act(request{Op: opSignal, Signal: int(s), Reach: to})
}
func (c *remote) pause() (reached int, err error) { return c.act(request{Op: opPause}) }
func (c *remote) limit(l Limits) (reached int, err error) {
	return c.act(request{Op: opLimit, Limits: l})
}
