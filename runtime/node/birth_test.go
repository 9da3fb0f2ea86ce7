package node

import (
	"net"
	"slices"
	"testing"
)

// TestLastOfEach: of a variable that is set twice the last holds, whoever set it.
func TestLastOfEach(t *testing.T) {
	got := lastOfEach([]string{"A=1", "B=1", "A=2", "PWD=/"}, []string{"PWD=/x", "B=2", "C=", "PWD=/y"})
	if want := []string{"A=2", "B=2", "C=", "PWD=/y"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := lastOfEach(nil, nil); len(got) != 0 {
		t.Error(got)
	}
}

// TestPhoneHome: a socket that listens everywhere is reached on the loopback.
func TestPhoneHome(t *testing.T) {
	for listening, want := range map[string]string{
		"0.0.0.0:7": "127.0.0.1:7", "[::]:7": "127.0.0.1:7", "127.4.5.6:7": "127.4.5.6:7", "[::1]:7": "[::1]:7",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listening)
		if err != nil {
			t.Fatal(err)
		}
		if got := phoneHome(addr); got != want {
			t.Errorf("%s: %s, want %s", listening, got, want)
		}
	}
}
