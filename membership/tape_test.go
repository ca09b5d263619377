package membership

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// tape is what somebody on the network has recorded. A nil tape records nothing.
type tape struct {
	mu        sync.Mutex
	datagrams []recorded
	streams   []*recordedConn
}

type recorded struct {
	to   string
	data []byte
}

func (t *tape) datagram(to string, b []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.datagrams = append(t.datagrams, recorded{to, bytes.Clone(b)})
}

// stream records what is written to c.
func (t *tape) stream(to string, c net.Conn) net.Conn {
	if t == nil {
		return c
	}
	r := &recordedConn{Conn: c, tape: t, to: to}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams = append(t.streams, r)
	return r
}

type recordedConn struct {
	net.Conn
	tape *tape
	to   string
	data []byte
}

func (r *recordedConn) Write(b []byte) (int, error) {
	r.tape.mu.Lock()
	r.data = append(r.data, b...)
	r.tape.mu.Unlock()
	return r.Conn.Write(b)
}

// take returns what was recorded so far.
func (t *tape) take() (datagrams, streams []recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.streams {
		streams = append(streams, recorded{s.to, bytes.Clone(s.data)})
	}
	return append([]recorded{}, t.datagrams...), streams
}

func (s *segment) recorder() *tape {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tape
}

func (s *segment) record() *tape {
	t := &tape{}
	s.load(t)
	return t
}

func (s *segment) load(t *tape) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tape = t
}

// replay sends everything that was recorded to one host, whoever it was meant for.
func (s *segment) replay(t *tape, to netip.AddrPort) {
	intruder := s.attach(netip.AddrPortFrom(testAddr(99), testPort))
	defer intruder.Shutdown()
	on := s.recorder()
	s.load(nil) // not what is sent here
	defer s.load(on)
	datagrams, streams := t.take()
	target, _ := s.reach(intruder.addr, to.String())
	for _, d := range datagrams {
		target.packets <- &memberlist.Packet{Buf: bytes.Clone(d.data), From: net.UDPAddrFromAddrPort(intruder.addr), Timestamp: time.Now()}
	}
	for _, r := range streams {
		c, err := intruder.DialTimeout(to.String(), time.Second)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Write(r.data)
		_, _ = c.Read(make([]byte, 1<<16)) // the answer of a state exchange
		_ = c.Close()
	}
}

// tap is a real transport that records what its member sends.
type tap struct {
	*socket
	tape *tape
}

func (t tap) WriteTo(b []byte, addr string) (time.Time, error) {
	t.tape.datagram(addr, b)
	return t.socket.WriteTo(b, addr)
}

func (t tap) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	c, err := t.socket.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	return t.tape.stream(addr, c), nil
}
