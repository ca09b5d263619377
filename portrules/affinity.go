package portrules

import (
	"encoding/binary"
	"net/netip"

	"github.com/opennlb/opennlb/nlbhash"
)

// AppendAffinityKey appends to key what is hashed of a client: its address (4 or
// 16 bytes; the first 3 or 8 of them and zeros for AffinityNetwork), for
// AffinityNone followed by its port in network order.
func AppendAffinityKey(key []byte, aff Affinity, client netip.AddrPort) []byte {
	if addr := client.Addr(); addr.Is4() {
		b := addr.As4()
		if aff == AffinityNetwork {
			b[3] = 0
		}
		key = append(key, b[:]...)
	} else {
		b := addr.As16()
		if aff == AffinityNetwork {
			clear(b[8:])
		}
		key = append(key, b[:]...)
	}
	if aff == AffinityNone {
		key = binary.BigEndian.AppendUint16(key, client.Port())
	}
	return key
}

// Lookup returns the index of the rule that covers a port of a VIP, or -1.
// protocol is TCP or UDP.
func (p *Policy) Lookup(vip netip.Addr, protocol Protocol, port uint16) int {
	for i := range p.Rules {
		if p.Rules[i].covers(vip, protocol, port) {
			return i
		}
	}
	return -1
}

// TableOf returns the index of the table that decides for a rule, -1 for traffic
// that no rule covers.
func (p *Policy) TableOf(rule int) int {
	if rule < 0 {
		return p.DefaultTable
	}
	return p.RuleTable[rule]
}

// BucketOf returns the bucket of a client in the table of a rule, -1 for traffic
// that no rule covers.
func (p *Policy) BucketOf(rule int, client netip.AddrPort) int {
	aff := AffinitySingle
	if rule >= 0 {
		aff = p.Rules[rule].Affinity
	}
	var buf [18]byte
	return int(nlbhash.Bucket(p.HashKey, AppendAffinityKey(buf[:0], aff, client)))
}

func (r *Rule) covers(vip netip.Addr, protocol Protocol, port uint16) bool {
	return (!r.VIP.IsValid() || r.VIP == vip) && r.Protocol.Has(protocol) &&
		r.First <= port && port <= r.Last
}
