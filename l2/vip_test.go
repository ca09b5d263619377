package l2

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func (h *host) mustAddVIPs(i *Interface, vips ...netip.Addr) {
	h.t.Helper()
	for _, vip := range vips {
		if err := i.AddVIP(vip); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestVIPsAreAddedAndRemovedIdempotently(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open()
	has := func(vip netip.Addr) string { got, err := i.HasVIP(vip); return fmt.Sprint(got, err) }
	for range 2 {
		h.mustAddVIPs(i, vip4, vip6)
	}
	want := []string{
		"inet " + vip4.String() + "/32 scope host lo",
		"inet6 " + vip6.String() + "/128 scope global nodad deprecated",
		"state UNKNOWN", // up
	}
	out := h.ip("addr", "show", "dev", "lo")
	for _, w := range want {
		if strings.Count(out, w) != 1 {
			t.Errorf("want %q once in\n%s", w, out)
		}
	}
	for _, vip := range []netip.Addr{vip4, vip6} {
		if got := has(vip); got != "true <nil>" {
			t.Errorf("HasVIP(%s) = %s", vip, got)
		}
		for range 2 {
			if err := i.RemoveVIP(vip); err != nil {
				t.Error(err)
			}
		}
		if got := has(vip); got != "false <nil>" {
			t.Errorf("after removal: HasVIP(%s) = %s", vip, got)
		}
	}
	if out := h.ip("-o", "addr", "show", "dev", "lo"); strings.Count(out, "\n") != 2 {
		t.Errorf("more than 127.0.0.1 and ::1 left:\n%s", out)
	}
}

// Administrators put VIPs on lo by hand, as other load balancers want it: with
// global scope, where the kernel may choose them as source.
func TestVIPAddedByHandIsCorrected(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open()
	for _, vip := range []netip.Addr{vip4, vip6} {
		h.ip("addr", "add", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "lo")
		if got, err := i.HasVIP(vip); got || err != nil {
			t.Errorf("HasVIP(%s) = %t, %v", vip, got, err)
		}
	}
	h.mustAddVIPs(i, vip4, vip6)
	out := h.ip("addr", "show", "dev", "lo")
	if !strings.Contains(out, vip4.String()+"/32 scope host") || !strings.Contains(out, vip6.String()+"/128 scope global nodad deprecated") {
		t.Errorf("not corrected:\n%s", out)
	}
}

func TestDedicatedAddressIsNoVIP(t *testing.T) {
	h := newSegment(t).host(10) // 192.0.2.10 and 2001:db8::a
	i := h.open()
	for _, vip := range []netip.Addr{vip4, netip.MustParseAddr("2001:db8::a")} {
		err := i.AddVIP(vip)
		if err == nil || !strings.Contains(err.Error(), "eth0") {
			t.Errorf("AddVIP(%s), which eth0 has: %v", vip, err)
		}
		if err := i.RemoveVIP(vip); err != nil {
			t.Error(err)
		}
		if !strings.Contains(h.ip("addr", "show", "dev", "eth0"), vip.String()) {
			t.Errorf("RemoveVIP(%s) took the dedicated IP", vip)
		}
	}
}

func TestVIPNeedsIPv6(t *testing.T) {
	h := newSegment(t).host(1)
	h.run("sysctl", "-q", "-w", "net.ipv6.conf.lo.disable_ipv6=1")
	err := h.open().AddVIP(vip6)
	if err == nil || !strings.Contains(err.Error(), "disable_ipv6") {
		t.Errorf("AddVIP without IPv6: %v", err)
	}
}

// The kernel chooses the dedicated IP for the host's own traffic, asked by a route
// lookup and by a real connection, though the VIP came first.
func TestVIPIsNeverASource(t *testing.T) {
	s := newSegment(t)
	h, server := s.host(1), s.host(2)
	i := h.open()
	h.mustAddVIPs(i, vip4, vip6)
	for _, tt := range []struct{ own, server, beyond string }{
		{"192.0.2.1", "192.0.2.2", "198.51.100.1"},
		{"2001:db8::1", "2001:db8::2", "2001:db8:ffff::1"},
	} {
		own := netip.MustParseAddr(tt.own)
		// The address that came last is the one that IPv6 prefers.
		h.ip("addr", "del", tt.own+"/"+map[bool]string{true: "24", false: "64"}[own.Is4()], "dev", "eth0")
		h.ip("addr", "add", tt.own+"/"+map[bool]string{true: "24", false: "64"}[own.Is4()], "dev", "eth0", "nodad")
		h.ip("route", "add", "default", "via", tt.server)
		for _, dst := range []string{tt.server, tt.beyond} {
			if out := h.ip("route", "get", dst); !strings.Contains(out, "src "+tt.own+" ") {
				t.Errorf("source to %s: %s", dst, out)
			}
		}
		var listener net.Listener
		server.do(func() (err error) {
			listener, err = net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(tt.server), 80).String())
			return err
		})
		defer listener.Close()
		h.do(func() error {
			conn, err := net.DialTimeout("tcp", listener.Addr().String(), patience)
			if err != nil {
				return err
			}
			defer conn.Close()
			if got := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != own {
				t.Errorf("connection to %s from %s, want %s", tt.server, got, own)
			}
			return nil
		})
	}
}
