package sockets

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
)

// Only a connection with exactly the flow counts, in whatever family its socket is;
// not a listener, which the same question finds.
func TestSockets(t *testing.T) {
	enginetest.EnterNamespace(t)
	s, err := OpenLookup(loopback)
	enginetest.Must(t, err)
	defer s.Close()
	for _, tt := range []struct{ name, network, listen, client, server, bound string }{
		{"ipv4", "tcp4", "127.0.0.1:80", "127.0.0.2:4001", "127.0.0.1:80", ""},
		{"ipv4 on ipv6 socket", "tcp", "[::]:81", "127.0.0.2:4002", "127.0.0.1:81", ""},
		{"ipv6", "tcp6", "[::1]:82", "[::1]:4003", "[::1]:82", ""},
		{"ipv4 bound to the interface", "tcp4", "127.0.0.1:83", "127.0.0.2:4004", "127.0.0.1:83", "lo"},
		{"ipv6 bound to the interface", "tcp6", "[::1]:84", "[::1]:4005", "[::1]:84", "lo"},
	} {
		func() { // not a test of its own, which would run on a thread elsewhere
			flow := portrules.Flow{Src: netip.MustParseAddrPort(tt.client), Dst: netip.MustParseAddrPort(tt.server)}
			listener, err := bound(tt.bound).Listen(t.Context(), tt.network, tt.listen)
			enginetest.Must(t, err)
			defer listener.Close()
			if s.Has(flow) {
				t.Errorf("%s: takes the listener for a connection", tt.name)
			}
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(flow.Src), Timeout: time.Second}
			client, err := dialer.Dial("tcp", tt.server)
			enginetest.Must(t, err)
			defer client.Close()
			if !s.Has(flow) {
				t.Errorf("%s: does not find a connection that nobody has accepted yet", tt.name)
			}
			server, err := listener.Accept()
			enginetest.Must(t, err)
			defer server.Close()
			if !s.Has(flow) {
				t.Errorf("%s: does not find the connection", tt.name)
			}
			listener.Close()
			if !s.Has(flow) {
				t.Errorf("%s: does not find the connection without its listener", tt.name)
			}
			server.Close()
			if !s.Has(flow) {
				t.Errorf("%s: does not find the connection that only the server has closed", tt.name)
			}
			other := flow
			other.Src = netip.AddrPortFrom(flow.Src.Addr(), flow.Src.Port()+1)
			if s.Has(other) {
				t.Errorf("%s: finds another port's connection", tt.name)
			}
		}()
	}
}

// loopback is the index of lo in every network namespace.
const loopback = 1

// bound makes listeners that are bound to an interface; "": to none.
func bound(name string) *net.ListenConfig {
	return &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if name == "" {
			return nil
		}
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }), err)
	}}
}

func BenchmarkSockets(b *testing.B) {
	s, err := OpenLookup(loopback)
	enginetest.Must(b, err)
	defer s.Close()
	flow := portrules.Flow{Src: netip.MustParseAddrPort("127.0.0.2:4001"), Dst: netip.MustParseAddrPort("127.0.0.1:80")}
	for b.Loop() {
		s.Has(flow)
	}
}
