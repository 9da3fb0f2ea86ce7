package control

import (
	"fmt"
	"net"
	"time"
)

// maxSources bounds the hosts that refusals are counted of in a second: a
// machine may have any number of addresses, and on the loopback has millions.
const maxSources = 16

// source is what refusals are counted by: those of a node's messages by the node,
// else the host that the connection came from, "" for those beyond maxSources.
type source struct{ node, host string }

// tally is the refusals of a source in a second.
type tally struct{ told, counted int }

// refused tells of a refusal, or counts it where its source has had its number
// of this second. The first of a node's port is told whatever others were, for
// it may be why the node is awaited in vain.
func (s *Server) refused(c *Conn, node, reason string) {
	host, _, err := net.SplitHostPort(c.peer)
	if err != nil {
		host = c.peer
	}
	from := source{node, host}
	s.mu.Lock()
	if s.refusals == nil {
		s.refusals = map[source]*tally{}
		s.running.Go(s.second)
	}
	t := s.refusals[from]
	if t == nil && node == "" && len(s.refusals) >= maxSources {
		from = source{}
		t = s.refusals[from]
	}
	if t == nil {
		t = &tally{}
		s.refusals[from] = t
	}
	first := node == "" && c.port.node != "" && !c.port.refused
	tell := first || t.told < s.o.MaxRefused
	switch {
	case first:
		c.port.refused = true
	case tell:
		t.told++
	default:
		t.counted++
	}
	s.mu.Unlock()
	if tell {
		r := Refusal{Node: node, Peer: c.peer, Reason: reason, Message: node != ""}
		if node == "" {
			r.Node = c.port.node
		}
		s.handler.Refused(r)
	}
}

// second tells what was counted when a second is over. What is counted while
// the Server closes is told when all have ended.
func (s *Server) second() {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		s.tellCounted()
	case <-s.stop.Done():
	}
}

// TellRefused tells the Handler how many more messages of a node were refused in this
// second, rather than at its end: what the node's end is judged by must be known before.
// It must not be called by the Handler.
func (s *Server) TellRefused(node string) {
	s.telling.Lock()
	defer s.telling.Unlock()
	more := map[source]int{}
	s.mu.Lock()
	for from, t := range s.refusals {
		if from.node == node {
			more[from], t.counted = t.counted, 0
		}
	}
	s.mu.Unlock()
	for from, n := range more {
		s.tellMore(from, n)
	}
}

// tellCounted tells all that was counted, and ends the second.
func (s *Server) tellCounted() {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	refusals := s.refusals
	s.refusals = nil
	s.mu.Unlock()
	for from, t := range refusals {
		s.tellMore(from, t.counted)
	}
}

// tellMore tells how many more refusals of a source there were. The lock telling is held.
func (s *Server) tellMore(from source, more int) {
	switch {
	case more == 0:
	case from.node != "":
		s.handler.Refused(Refusal{Node: from.node, Peer: from.host, Message: true, More: more,
			Reason: fmt.Sprintf("and %d more messages of it were refused in this second", more)})
	case from.host == "":
		s.handler.Refused(Refusal{
			Reason: fmt.Sprintf("and %d more connections from other addresses were refused in this second", more)})
	default:
		s.handler.Refused(Refusal{Peer: from.host,
			Reason: fmt.Sprintf("and %d more connections from %s were refused in this second", more, from.host)})
	}
}
