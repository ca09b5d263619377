package membership

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"math/rand/v2"

	"github.com/hashicorp/memberlist"
)

// segment is a network in memory for use inside a synctest bubble: datagrams
// take up to a millisecond, and links can be cut.
type segment struct {
	mu    sync.Mutex
	hosts map[string]*host
	cut   map[[2]string]bool // by IP, both ways
	dark  map[string]bool    // by IP
	loss  float64            // of datagrams
	tape  *tape              // records everything if not nil
}

func newSegment() *segment {
	return &segment{hosts: make(map[string]*host), cut: make(map[[2]string]bool), dark: make(map[string]bool)}
}

// host is one transport on the segment.
type host struct {
	seg     *segment
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

func (s *segment) attach(a netip.AddrPort) *host {
	h := &host{
		seg:     s,
		addr:    a,
		packets: make(chan *memberlist.Packet, 4096),
		streams: make(chan net.Conn, 256),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[a.String()] = h
	return h
}

// split cuts every link between the two sides.
func (s *segment) split(left, right []netip.Addr) { s.setCut(left, right, true) }
func (s *segment) heal(left, right []netip.Addr)  { s.setCut(left, right, false) }

func (s *segment) setCut(left, right []netip.Addr, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range left {
		for _, r := range right {
			s.cut[[2]string{l.String(), r.String()}] = cut
			s.cut[[2]string{r.String(), l.String()}] = cut
		}
	}
}

// isolate cuts a host off, as if its power had failed.
func (s *segment) isolate(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dark[a.String()] = true
}

// lose makes the segment drop this share of the datagrams.
func (s *segment) lose(share float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loss = share
}

func (s *segment) loses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.Float64() < s.loss
}

// reach returns the host at addr; nil and true if it is cut off.
func (s *segment) reach(from netip.AddrPort, addr string) (*host, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := netip.MustParseAddrPort(addr).Addr().String()
	if s.cut[[2]string{from.Addr().String(), ip}] || s.dark[from.Addr().String()] || s.dark[ip] {
		return nil, true
	}
	return s.hosts[addr], false
}

func (h *host) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(h.addr.Addr().AsSlice()), int(h.addr.Port()), nil
}

func (h *host) WriteTo(b []byte, addr string) (time.Time, error) {
	if len(b) > maxPacket+5 {
		return time.Time{}, fmt.Errorf("datagram of %d bytes", len(b))
	}
	now := time.Now()
	h.seg.recorder().datagram(addr, b)
	to, _ := h.seg.reach(h.addr, addr)
	if to == nil || h.seg.loses() {
		return now, nil
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(h.addr)}
	time.AfterFunc(100*time.Microsecond+rand.N(900*time.Microsecond), func() {
		if again, _ := h.seg.reach(h.addr, addr); again != to {
			return
		}
		p.Timestamp = time.Now()
		select {
		case to.packets <- p:
		default:
		}
	})
	return now, nil
}

func (h *host) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, cut := h.seg.reach(h.addr, addr)
	if cut {
		time.Sleep(timeout)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	if to == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	near, far := net.Pipe()
	select {
	case to.streams <- namedConn{far, h.addr}:
		return h.seg.recorder().stream(addr, namedConn{near, to.addr}), nil
	default:
		return nil, errors.New("backlog full")
	}
}

func (h *host) PacketCh() <-chan *memberlist.Packet { return h.packets }
func (h *host) StreamCh() <-chan net.Conn           { return h.streams }

func (h *host) Shutdown() error {
	h.seg.mu.Lock()
	defer h.seg.mu.Unlock()
	if h.seg.hosts[h.addr.String()] == h {
		delete(h.seg.hosts, h.addr.String())
	}
	return nil
}

type namedConn struct {
	net.Conn
	remote netip.AddrPort
}

func (c namedConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
