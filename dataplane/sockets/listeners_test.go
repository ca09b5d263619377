package sockets

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func TestListeners(t *testing.T) {
	enginetest.EnterNamespace(t)
	enginetest.OwnEverything(t)
	for _, s := range []struct{ network, addr string }{
		{"tcp", ":80"}, {"tcp4", ":81"}, {"tcp6", "[::]:82"}, {"tcp", netip.AddrPortFrom(frames.VIP4, 83).String()},
		{"udp", ":84"}, {"udp4", netip.AddrPortFrom(frames.Own4, 85).String()},
	} {
		if s.network[:3] == "udp" {
			c, err := net.ListenPacket(s.network, s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			continue
		}
		l, err := net.Listen(s.network, s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	// A connected UDP socket is none that takes what others send.
	connected, err := net.Dial("udp", netip.AddrPortFrom(frames.VIP4, 84).String())
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	_, port, _ := net.SplitHostPort(connected.LocalAddr().String())

	listeners, err := Listeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		vip      netip.Addr
		protocol portrules.Protocol
		port     uint16
		want     bool
	}{
		{frames.VIP4, portrules.TCP, 80, true},
		{frames.VIP6, portrules.TCP, 80, true},
		{frames.VIP4, portrules.UDP, 80, false},
		{frames.VIP4, portrules.TCP, 81, true},
		{frames.VIP6, portrules.TCP, 81, false},
		{frames.VIP4, portrules.TCP, 82, false}, // IPv6 only
		{frames.VIP6, portrules.TCP, 82, true},
		{frames.VIP4, portrules.TCP, 83, true},
		{frames.VIP6, portrules.TCP, 83, false},
		{frames.VIP4, portrules.UDP, 84, true},
		{frames.VIP6, portrules.UDP, 84, true},
		{frames.VIP4, portrules.TCP, 84, false},
		{frames.VIP4, portrules.UDP, 85, false}, // on another address
		{frames.VIP4, portrules.TCP, 86, false},
	} {
		takes := func(l Listener) bool { return l.Takes(c.vip, c.protocol, c.port) }
		if got := slices.ContainsFunc(listeners, takes); got != c.want {
			t.Errorf("%v port %d of %v: %v", c.protocol, c.port, c.vip, got)
		}
	}
	for _, l := range listeners {
		if l.Protocol == portrules.UDP && l.Local.String() == net.JoinHostPort(l.Local.Addr().String(), port) {
			t.Errorf("%v is connected", l.Local)
		}
	}
}
