package membership

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// guard stands between memberlist and the network. It bounds what comes in,
// puts a deadline on everything that goes out (memberlist sets none when it
// sends a user message), and cuts the member off while it is not healthy.
//
// A transport is the one place through which all probes and acknowledgements
// go, over UDP and TCP alike. Cutting in only, say, the acknowledgements would
// leave an ailing member that hears no answer and accuses all others.
type guard struct {
	memberlist.Transport
	healthy func() bool
	member  func(netip.Addr) bool // a live one is at this address
	timeout time.Duration
	count   *counters

	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	mu        sync.Mutex
	open      map[*guardedConn]struct{}
	members   int                // inbound connections of theirs
	strangers int                // and from elsewhere
	each      map[netip.Addr]int // these by address
	closed    bool
}

var (
	errDeaf     = errors.New("this member is not healthy and keeps silent")
	errClosed   = errors.New("membership is shut down")
	errTooLarge = errors.New("peer sent more than the limit")
)

func newGuard(inner memberlist.Transport, healthy func() bool, member func(netip.Addr) bool, timeout time.Duration, count *counters) *guard {
	g := &guard{
		Transport: inner,
		healthy:   healthy,
		member:    member,
		timeout:   timeout,
		count:     count,
		packets:   make(chan *memberlist.Packet),
		streams:   make(chan net.Conn),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
		open:      make(map[*guardedConn]struct{}),
		each:      make(map[netip.Addr]int),
	}
	go g.pump()
	return g
}

func (g *guard) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *guard) StreamCh() <-chan net.Conn           { return g.streams }

// pump passes on what the network delivers until Shutdown.
func (g *guard) pump() {
	defer close(g.stopped)
	for {
		select {
		case p := <-g.Transport.PacketCh():
			if g.deaf() {
				continue
			}
			select {
			case g.packets <- p:
			case <-g.stop:
				return
			}
		case c := <-g.Transport.StreamCh():
			if g.deaf() {
				_ = c.Close()
				continue
			}
			conn, err := g.track(c, true)
			if err != nil {
				continue
			}
			select {
			case g.streams <- conn:
			case <-g.stop:
				_ = conn.Close()
				return
			}
		case <-g.stop:
			return
		}
	}
}

// inject hands over a packet as if this member had sent it to itself.
func (g *guard) inject(p *memberlist.Packet) {
	select {
	case g.packets <- p:
	case <-g.stop:
	}
}

func (g *guard) deaf() bool {
	if g.healthy() {
		return false
	}
	g.count.deaf.Add(1)
	return true
}

// WriteTo sends a packet; while not healthy it pretends to, as a network
// that loses it would.
func (g *guard) WriteTo(b []byte, addr string) (time.Time, error) {
	if g.deaf() {
		return time.Now(), nil
	}
	return g.Transport.WriteTo(b, addr)
}

func (g *guard) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if g.deaf() {
		return nil, errDeaf
	}
	timeout = min(timeout, g.timeout)
	deadline := time.Now().Add(timeout)
	c, err := g.Transport.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	conn, err := g.track(c, false)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(deadline)
}

// track registers c so that Shutdown can close it.
func (g *guard) track(c net.Conn, inbound bool) (*guardedConn, error) {
	conn := &guardedConn{Conn: c, guard: g, inbound: inbound}
	if inbound {
		conn.from = addressOf(c)
		conn.stranger = !g.member(conn.from)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || inbound && g.full(conn) {
		_ = c.Close()
		if g.closed {
			return nil, errClosed
		}
		g.count.tooManyStreams.Add(1)
		return nil, errors.New("too many connections")
	}
	conn.left.Store(maxStreamLen)
	if conn.stranger {
		conn.left.Store(maxStateLen)
	}
	g.open[conn] = struct{}{}
	g.add(conn, 1)
	return conn, nil
}

// full reports whether there is no place for an inbound connection. Strangers take none
// of the members', who agree on everything by streams: otherwise whoever reaches the port,
// and only holds connections to it, would keep the cluster from replacing a member that
// died. Callers hold mu.
func (g *guard) full(c *guardedConn) bool {
	if c.stranger {
		return g.strangers >= maxStrangers || g.each[c.from] >= maxEach
	}
	return g.members >= maxStreams
}

// add counts a connection that comes, or goes with -1. Callers hold mu.
func (g *guard) add(c *guardedConn, n int) {
	if !c.inbound {
		return
	}
	if !c.stranger {
		g.members += n
		return
	}
	g.strangers += n
	if g.each[c.from] += n; g.each[c.from] == 0 {
		delete(g.each, c.from)
	}
}

// addressOf is where c comes from, the zero address where that is not known.
func addressOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Shutdown closes the network and every connection, so that no goroutine of
// memberlist lingers in one.
func (g *guard) Shutdown() error {
	var err error
	g.once.Do(func() {
		// The listeners may be waiting to hand something over: pump goes on
		// taking it until they have ended.
		err = g.Transport.Shutdown()
		close(g.stop)
		<-g.stopped

		g.mu.Lock()
		g.closed = true
		open := g.open
		g.open = make(map[*guardedConn]struct{})
		g.mu.Unlock()
		for c := range open {
			_ = c.Conn.Close()
		}
	})
	return err
}

// guardedConn is a connection whose peer can send only so much.
type guardedConn struct {
	net.Conn
	guard    *guard
	inbound  bool
	from     netip.Addr // of inbound ones
	stranger bool       // no member was there
	left     atomic.Int64
	once     sync.Once
}

func (c *guardedConn) Read(b []byte) (int, error) {
	if c.left.Load() <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(b)
	c.left.Add(-int64(n))
	return n, err
}

func (c *guardedConn) Close() error {
	c.once.Do(func() {
		c.guard.mu.Lock()
		defer c.guard.mu.Unlock()
		delete(c.guard.open, c)
		c.guard.add(c, -1)
	})
	return c.Conn.Close()
}
