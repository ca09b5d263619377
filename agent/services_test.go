package agent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
)

func TestUnserved(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	at := func(p portrules.Protocol, a netip.Addr, port uint16) sockets.Listener {
		return sockets.Listener{Local: netip.AddrPortFrom(a, port), Protocol: p}
	}
	rule := func(p portrules.Protocol, first, last uint16) portrules.Rule {
		return portrules.Rule{Name: "r", Protocol: p, First: first, Last: last}
	}
	only4, disabled := rule(portrules.TCP, 80, 80), rule(portrules.TCP, 80, 80)
	only4.VIP, disabled.Mode = v4, portrules.Disabled
	for _, c := range []struct {
		name      string
		rule      portrules.Rule
		listeners []sockets.Listener
		want      []missing
	}{
		{"nothing listens", rule(portrules.TCP, 80, 80), nil, []missing{{0, v4}}},
		{"all is served", rule(portrules.TCP, 80, 80), []sockets.Listener{at(portrules.TCP, any6, 80)}, nil},
		{"IPv6 lacks it", rule(portrules.TCP, 80, 80), []sockets.Listener{at(portrules.TCP, any4, 80)}, []missing{{0, v6}}},
		{"IPv6 does not matter", only4, []sockets.Listener{at(portrules.TCP, any4, 80)}, nil},
		{"on the dedicated address", only4, []sockets.Listener{at(portrules.TCP, netip.MustParseAddr("192.0.2.1"), 80)}, []missing{{0, v4}}},
		{"of another protocol", only4, []sockets.Listener{at(portrules.UDP, any4, 80)}, []missing{{0, v4}}},
		{"one protocol of both", rule(portrules.Both, 53, 53), []sockets.Listener{at(portrules.UDP, any6, 53)}, nil},
		{"one port of a few", rule(portrules.TCP, 80, 95), []sockets.Listener{at(portrules.TCP, any6, 95)}, nil},
		{"no port of a few", rule(portrules.TCP, 80, 95), []sockets.Listener{at(portrules.TCP, any6, 96)}, []missing{{0, v4}}},
		{"many ports", rule(portrules.TCP, 80, 96), nil, nil},
		{"disabled", disabled, nil, nil},
		{"SCTP, whose sockets nobody lists", rule(portrules.SCTP, 80, 80), nil, nil},
	} {
		if got := unserved([]netip.Addr{v4, v6}, []portrules.Rule{c.rule}, c.listeners); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
