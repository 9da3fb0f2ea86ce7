package probe

import (
	"strings"
	"sync"
)

// NotifyVariable is the variable of a node's environment that has Notify.Address.
const NotifyVariable = "NOTIFY_SOCKET"

// maxStatus is how many bytes of a status are kept.
const maxStatus = 1 << 10

// told is what a node has said of itself by sd_notify(3).
type told struct {
	ready chan struct{}

	mu        sync.Mutex
	isReady   bool
	isOver    bool // it has said that it is ending
	status    string
	strangers int
	stranger  uint32 // the last one's user
}

// hear takes a message: lines of KEY=VALUE, of which those count here that say that the
// node is ready, which counts no more once it has said that it ends, and what it does. What others there are, such as MAINPID, RELOADING
// and WATCHDOG, changes nothing.
func (t *told) hear(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.SplitSeq(message, "\n") {
		switch {
		case line == "STOPPING=1":
			t.isOver = true
		case line == "READY=1" && !t.isReady && !t.isOver:
			t.isReady = true
			close(t.ready)
		}
		if status, ok := strings.CutPrefix(line, "STATUS="); ok {
			t.status = strings.ToValidUTF8(status[:min(len(status), maxStatus)], "\ufffd")
		}
	}
}

func (t *told) refuse(user uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strangers++
	t.stranger = user
}

// Ready is closed when the node has said that it is ready.
func (t *told) Ready() <-chan struct{} { return t.ready }

// Status is what the node said last that it does; "" where it has not.
func (t *told) Status() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// Strangers reports how many messages did not count because another user than the
// node's sent them, and who sent the last one.
func (t *told) Strangers() (messages int, user uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.strangers, t.stranger
}
