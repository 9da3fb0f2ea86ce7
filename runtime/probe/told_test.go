package probe

import "testing"

// TestReadyAfterStopping: who has said that it ends becomes ready by nothing it says.
func TestReadyAfterStopping(t *testing.T) {
	for messages, want := range map[[3]string]bool{
		{"READY=1", "READY=1", "STOPPING=1"}:             true,
		{"RELOADING=1", "READY=1"}:                       true,
		{"STOPPING=1", "READY=1"}:                        false,
		{"STATUS=x\nSTOPPING=1\nREADY=1", "", "READY=1"}: false,
		{"STOPPING=0", "READY=1"}:                        true,
	} {
		n := told{ready: make(chan struct{})}
		for _, m := range messages {
			n.hear(m)
		}
		got := false
		select {
		case <-n.Ready():
			got = true
		default:
		}
		if got != want {
			t.Errorf("%q: ready %v", messages, got)
		}
	}
}
