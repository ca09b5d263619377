package portrules

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"github.com/opennlb/opennlb/nlbhash"
)

// AppendAffinityKey is [Rule.AppendKey] of a rule with this affinity and the usual
// prefix lengths.
func AppendAffinityKey(key []byte, aff Affinity, client netip.AddrPort) []byte {
	r := Rule{Affinity: aff}
	return r.AppendKey(key, client)
}

// AppendKey appends to key what is hashed of a client: its address (4 or 16 bytes, for
// AffinityNetwork with zeros behind the prefix), for AffinityNone followed by its port
// in network order.
func (r *Rule) AppendKey(key []byte, client netip.AddrPort) []byte {
	start := len(key)
	bits := cmp.Or(r.PrefixV6, DefaultPrefixV6)
	if addr := client.Addr(); addr.Is4() {
		b := addr.As4()
		key, bits = append(key, b[:]...), cmp.Or(r.PrefixV4, DefaultPrefixV4)
	} else {
		b := addr.As16()
		key = append(key, b[:]...)
	}
	switch r.Affinity {
	case AffinityNetwork:
		mask(key[start:], int(bits))
	case AffinityNone:
		key = binary.BigEndian.AppendUint16(key, client.Port())
	}
	return key
}

// mask clears all but the first bits.
func mask(b []byte, bits int) {
	for i := range b {
		b[i] &^= 0xff >> min(8, max(0, bits-8*i))
	}
}

// AppendKey appends what is hashed of a client in the table of a rule, -1 for traffic
// that no rule covers.
func (p *Policy) AppendKey(key []byte, rule int, client netip.AddrPort) []byte {
	if rule < 0 {
		return AppendAffinityKey(key, AffinitySingle, client)
	}
	return p.Rules[rule].AppendKey(key, client)
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
	return int(p.hashOf(rule, client) % nlbhash.Buckets)
}

// hashOf is the whole hash of a client, whose lowest bits are its bucket.
func (p *Policy) hashOf(rule int, client netip.AddrPort) uint64 {
	var buf [18]byte
	return nlbhash.Sum(p.HashKey, p.AppendKey(buf[:0], rule, client))
}

// hash is hashOf for a protocol. Without ports, a client is its address.
func (p *Policy) hash(rule int, protocol uint8, client netip.AddrPort) uint64 {
	if rule >= 0 && p.Rules[rule].Affinity == AffinityNone && transport(protocol) == 0 {
		rule = -1
	}
	return p.hashOf(rule, client)
}

func (r *Rule) covers(vip netip.Addr, protocol Protocol, port uint16) bool {
	return (!r.VIP.IsValid() || r.VIP == vip) && r.Protocol.Has(protocol) &&
		r.First <= port && port <= r.Last
}
