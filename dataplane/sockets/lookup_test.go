package sockets

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
)

// Only a connection with exactly the flow counts, in whatever family its socket is;
// not a listener, which the same question finds.
func TestSockets(t *testing.T) {
	enginetest.EnterNamespace(t)
	s, err := OpenLookup()
	enginetest.Must(t, err)
	defer s.Close()
	for _, tt := range []struct{ name, network, listen, client, server string }{
		{"ipv4", "tcp4", "127.0.0.1:80", "127.0.0.2:4001", "127.0.0.1:80"},
		{"ipv4 on ipv6 socket", "tcp", "[::]:81", "127.0.0.2:4002", "127.0.0.1:81"},
		{"ipv6", "tcp6", "[::1]:82", "[::1]:4003", "[::1]:82"},
	} {
		func() { // not a test of its own, which would run on a thread elsewhere
			flow := portrules.Flow{Src: netip.MustParseAddrPort(tt.client), Dst: netip.MustParseAddrPort(tt.server)}
			listener, err := net.Listen(tt.network, tt.listen)
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

func BenchmarkSockets(b *testing.B) {
	s, err := OpenLookup()
	enginetest.Must(b, err)
	defer s.Close()
	flow := portrules.Flow{Src: netip.MustParseAddrPort("127.0.0.2:4001"), Dst: netip.MustParseAddrPort("127.0.0.1:80")}
	for b.Loop() {
		s.Has(flow)
	}
}
