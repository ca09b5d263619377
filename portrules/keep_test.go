package portrules_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// A rule with a timeout keeps what its affinity tells apart, one without keeps flows, but
// tunnels and IKE go together. The bucket always follows the affinity.
func TestClientKey(t *testing.T) {
	const tcp, udp, esp, sctp = portrules.ProtoTCP, portrules.ProtoUDP, portrules.ProtoESP, portrules.ProtoSCTP
	const none, single, network = portrules.AffinityNone, portrules.AffinitySingle, portrules.AffinityNetwork
	for _, c := range []struct {
		name      string
		affinity  portrules.Affinity
		timeout   time.Duration
		protocol  uint8
		port      uint16 // of the VIP
		otherPort bool   // another port of the client is another one
		neighbor  bool   // another address of its network is
	}{
		{"flows", single, 0, udp, 53, true, true},
		{"flows of a network", network, 0, udp, 53, true, true},
		{"timeout", single, time.Minute, udp, 53, false, true},
		{"timeout of a network", network, time.Minute, udp, 53, false, false},
		{"timeout, affinity none", none, time.Minute, udp, 53, true, true},
		{"tcp, timeout", single, time.Minute, tcp, 80, false, true},
		{"sctp, timeout", network, time.Minute, sctp, 80, false, false},
		{"ike", single, 0, udp, 500, false, true},
		{"ike behind nat", network, 0, udp, 4500, false, false},
		{"tunnel", network, 0, esp, 0, false, false},
		{"tunnel, affinity none", none, time.Minute, esp, 0, false, true},
	} {
		for _, client := range []string{"198.51.100.7", "2001:db8:1:2::7"} {
			p := &portrules.Policy{Rules: []portrules.Rule{{ID: 9}, {ID: 77, Affinity: c.affinity, Timeout: c.timeout}}}
			vip := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), c.port)
			key := func(addr netip.Addr, port uint16) portrules.ClientKey {
				src := netip.AddrPortFrom(addr, port)
				k := p.ClientKey(1, c.protocol, portrules.Flow{Src: src, Dst: vip})
				if want := p.BucketOf(1, src); c.protocol != esp && int(k.Bucket) != want || k.Rule != 77 {
					t.Errorf("%s: %+v, want bucket %d of rule 77", c.name, k, want)
				}
				return k
			}
			addr := netip.MustParseAddr(client)
			k := key(addr, 1000)
			if key(addr, 1000) != k {
				t.Errorf("%s: one packet, two keys", c.name)
			}
			port := uint16(1001)
			if c.protocol == esp {
				port = 1000 // there are none
			}
			if other := key(addr, port) != k; other != c.otherPort {
				t.Errorf("%s: with another port another one: %t", c.name, other)
			}
			if other := key(addr.Next(), 1000) != k; other != c.neighbor {
				t.Errorf("%s: another one of its network: %t", c.name, other)
			}
		}
	}
}

// A tunnel and its IKE are one client, so neither is left behind when the bucket moves.
func TestTunnelAndIKE(t *testing.T) {
	p := &portrules.Policy{Rules: []portrules.Rule{{Affinity: portrules.AffinitySingle}}}
	src, vip := netip.MustParseAddrPort("198.51.100.7:500"), netip.MustParseAddr("192.0.2.10")
	ike := p.ClientKey(0, portrules.ProtoUDP, portrules.Flow{Src: src, Dst: netip.AddrPortFrom(vip, 500)})
	esp := p.ClientKey(0, portrules.ProtoESP, portrules.Flow{Src: netip.AddrPortFrom(src.Addr(), 0), Dst: netip.AddrPortFrom(vip, 0)})
	if ike != esp || int(ike.Bucket) != int(ike.Hash%nlbhash.Buckets) {
		t.Errorf("IKE is %+v, its tunnel %+v", ike, esp)
	}
}

func TestCheckIDs(t *testing.T) {
	for _, c := range []struct {
		ids []uint16
		ok  bool
	}{{nil, true}, {[]uint16{3, 0, portrules.NumRuleIDs - 1}, true}, {[]uint16{3, 0, 3}, false}, {[]uint16{portrules.NumRuleIDs}, false}} {
		p := &portrules.Policy{}
		for _, id := range c.ids {
			p.Rules = append(p.Rules, portrules.Rule{ID: id})
		}
		if err := p.CheckIDs(); (err == nil) != c.ok {
			t.Errorf("IDs %v: %v", c.ids, err)
		}
	}
}
