package portrules

import (
	"encoding/binary"
	"net/netip"
)

// Quote is the part of an ICMP error that says which packet of ours it is about.
type Quote struct {
	Protocol uint8
	Flow     Flow // as the client's packets name it: the VIP is its destination
}

// isICMPError knows the types that quote a packet: destination unreachable (with
// fragmentation needed), time exceeded and parameter problem (RFC 792), and of
// ICMPv6 packet too big as well (RFC 4443).
func isICMPError(v4 bool, kind uint8) bool {
	if v4 {
		return kind == 3 || kind == 11 || kind == 12
	}
	return 1 <= kind && kind <= 4
}

// quote notes what an ICMP message quotes, if it is an error about a packet that its
// receiver sent and of which at least the ports can be read; b is the message.
func (p *Packet) quote(b []byte) {
	v4 := p.Dst.Is4()
	if v4 != (p.Protocol == ProtoICMP) || len(b) < 8 || !isICMPError(v4, b[0]) {
		return
	}
	inner, rest := headerIPv6(b[8:])
	if v4 {
		inner, rest = headerIPv4(b[8:])
	}
	if inner.Kind != IP || inner.Malformed || inner.Fragment.Later || inner.Src != p.Dst {
		return
	}
	if len(rest) < 8 { // RFC 792 quotes no less
		return
	}
	var to, from uint16
	switch {
	case transport(inner.Protocol) != 0:
		from, to = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	case !isTunnel(inner.Protocol):
		return
	}
	p.Quote = Quote{Protocol: inner.Protocol, Flow: Flow{
		Src: netip.AddrPortFrom(inner.Dst, to),
		Dst: netip.AddrPortFrom(inner.Src, from),
	}}
}
