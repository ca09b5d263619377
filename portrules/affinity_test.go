package portrules_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func TestAppendAffinityKey(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("198.51.100.7:443"), netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:443")
	prefix6 := []byte{0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2}
	for _, tt := range []struct {
		name   string
		aff    portrules.Affinity
		client netip.AddrPort
		want   []byte
	}{
		{"ipv4 none", portrules.AffinityNone, v4, []byte{198, 51, 100, 7, 1, 187}},
		{"ipv4 single", portrules.AffinitySingle, v4, []byte{198, 51, 100, 7}},
		{"ipv4 network", portrules.AffinityNetwork, v4, []byte{198, 51, 100, 0}},
		{"ipv6 none", portrules.AffinityNone, v6, append(bytes.Clone(prefix6), 0, 3, 0, 4, 0, 5, 0, 6, 1, 187)},
		{"ipv6 single", portrules.AffinitySingle, v6, append(bytes.Clone(prefix6), 0, 3, 0, 4, 0, 5, 0, 6)},
		{"ipv6 network", portrules.AffinityNetwork, v6, append(bytes.Clone(prefix6), make([]byte, 8)...)},
	} {
		if got := portrules.AppendAffinityKey([]byte("x"), tt.aff, tt.client); !bytes.Equal(got, append([]byte("x"), tt.want...)) {
			t.Errorf("%s: got % x, want 78 % x", tt.name, got, tt.want)
		}
	}
}

func TestLookup(t *testing.T) {
	p := frames.Policy(nil)
	for _, tt := range []struct {
		vip      netip.Addr
		protocol portrules.Protocol
		port     uint16
		want     int
	}{
		{frames.VIP4, portrules.TCP, 79, -1},
		{frames.VIP4, portrules.TCP, 80, frames.Web},
		{frames.VIP6b, portrules.TCP, 443, frames.Web},
		{frames.VIP4, portrules.TCP, 444, -1},
		{frames.VIP4, portrules.UDP, 80, -1},
		{frames.VIP4, portrules.UDP, 53, frames.DNS},
		{frames.VIP6, portrules.TCP, 53, frames.DNS6},
		{frames.VIP4b, portrules.UDP, 53, -1},
		{frames.VIP4, portrules.UDP, 65535, frames.Last},
	} {
		if got := p.Lookup(tt.vip, tt.protocol, tt.port); got != tt.want {
			t.Errorf("%v %v port %d: got rule %d, want %d", tt.vip, tt.protocol, tt.port, got, tt.want)
		}
	}
}

// A decision tells which bucket of which table it asked.
func TestDecisionNamesBucket(t *testing.T) {
	p := frames.Policy(map[int]portrules.Flags{frames.DNSTable: portrules.Residual})
	client := netip.AddrPortFrom(frames.Client, frames.ClientPort)
	dns := netip.AddrPortFrom(frames.VIP4, 53)
	network := int(nlbhash.Bucket(p.HashKey, []byte{198, 51, 100, 0}))
	address := int(nlbhash.Bucket(p.HashKey, []byte{198, 51, 100, 7}))
	for _, tt := range []struct {
		name  string
		frame []byte
		want  portrules.Decision
	}{
		{"rule", frames.UDPFrame(client, dns), portrules.Decision{Verdict: portrules.Drop, Reason: portrules.NotOwner,
			Rule: frames.DNS, Table: frames.DNSTable, Bucket: network, Flags: portrules.Residual}},
		{"echo", frames.EchoFrame(client.Addr(), dns.Addr()), portrules.Decision{Verdict: portrules.Drop, Reason: portrules.NotDefault,
			Rule: -1, Table: frames.DefaultTable, Bucket: address}},
		{"disabled", frames.UDPFrame(client, netip.AddrPortFrom(frames.VIP4, 6001)), portrules.Decision{Verdict: portrules.Drop,
			Reason: portrules.RuleDisabled, Rule: frames.Off, Table: -1, Bucket: -1}},
	} {
		pkt := portrules.Parse(tt.frame)
		if got := p.Decide(&pkt, portrules.Env{}); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	for _, v := range frames.Vectors() {
		env := v.Env(v.Listener())
		if n := testing.AllocsPerRun(10, func() {
			pkt := portrules.Parse(v.Frame)
			v.Policy.Decide(&pkt, env)
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", v.Name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	client := netip.AddrPortFrom(frames.Client, frames.ClientPort)
	p := frames.Policy(map[int]portrules.Flags{frames.WebTable: portrules.Own})
	frame := frames.TCPFrame(client, netip.AddrPortFrom(frames.VIP4, 443), frames.SYN)
	b.ReportAllocs()
	for b.Loop() {
		pkt := portrules.Parse(frame)
		p.Decide(&pkt, portrules.Env{})
	}
}
