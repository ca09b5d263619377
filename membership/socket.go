package membership

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

// socket is the network as memberlist's Transport: UDP for packets, TCP for streams,
// on one address and port. memberlist's own takes 64 KiB from the heap for every
// packet that it reads, which made the collector of garbage run every 64 packets.
type socket struct {
	udp     *net.UDPConn
	tcp     *net.TCPListener
	log     *log.Logger
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	readers sync.WaitGroup
}

const (
	receiveBuffer = 2 << 20               // bytes in the kernel, for bursts; it grants what it allows
	pauseOnError  = 10 * time.Millisecond // before reading or accepting again
)

// openSocket listens on at; port 0 takes any that is free.
func openSocket(at netip.AddrPort, log *log.Logger) (*socket, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	at = netip.AddrPortFrom(at.Addr(), uint16(tcp.Addr().(*net.TCPAddr).Port))
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	if err := udp.SetReadBuffer(receiveBuffer); err != nil {
		log.Printf("[WARN] enlarge the UDP receive buffer: %v", err)
	}
	s := &socket{
		udp: udp, tcp: tcp, log: log,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		done:    make(chan struct{}),
	}
	s.readers.Go(s.read)
	s.readers.Go(s.accept)
	return s, nil
}

func (s *socket) port() uint16 { return uint16(s.tcp.Addr().(*net.TCPAddr).Port) }

// FinalAdvertiseAddr is asked with the address that Config.AdvertiseAddr has.
func (s *socket) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("advertise an address: %w", err)
	}
	return a.Unmap().AsSlice(), port, nil
}

func (s *socket) PacketCh() <-chan *memberlist.Packet { return s.packets }
func (s *socket) StreamCh() <-chan net.Conn           { return s.streams }

// WriteTo sends one datagram to an address and port in digits.
func (s *socket) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send a packet: %w", err)
	}
	_, err = s.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// DialTimeout connects from the address that the others know this member by: they keep
// places for it.
func (s *socket) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{IP: s.udp.LocalAddr().(*net.UDPAddr).IP}, Control: anyPort}
	return d.Dial("tcp", addr)
}

// anyPort leaves the choice of the port to connect(2), as it is without an address of
// one's own: bind(2) would take each port for itself (ip(7), IP_BIND_ADDRESS_NO_PORT).
func anyPort(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // only thrifty
	})
}

// Shutdown closes both listeners and waits for their readers. Connections are not its own.
func (s *socket) Shutdown() error {
	close(s.done)
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.readers.Wait()
	return err
}

func (s *socket) read() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.over("reading UDP packet", err) {
				return
			}
			continue
		}
		if n == 0 {
			continue // memberlist takes the first byte for granted
		}
		p := &memberlist.Packet{Buf: bytes.Clone(buf[:n]), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case s.packets <- p:
		case <-s.done:
			return
		}
	}
}

func (s *socket) accept() {
	for {
		c, err := s.tcp.AcceptTCP()
		if err != nil {
			if s.over("accepting TCP connection", err) {
				return
			}
			continue
		}
		select {
		case s.streams <- c:
		case <-s.done:
			_ = c.Close()
			return
		}
	}
}

// over reports whether err means the end; other errors are logged, and it waits a
// little, lest one that stays makes the reader spin.
func (s *socket) over(doing string, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	s.log.Printf("[ERR] Error %s: %v", doing, err) // logBridge looks for "Error accepting TCP connection"
	select {
	case <-s.done:
		return true
	case <-time.After(pauseOnError):
		return false
	}
}
