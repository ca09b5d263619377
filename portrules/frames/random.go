package frames

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/portrules"
)

// Random returns a frame that is likely to concern a VIP of the policy and the
// edges of its rules; about half of them are damaged. It can be shorter than an
// Ethernet header.
func Random(rng *rand.Rand, p *portrules.Policy) []byte {
	frame := randomFrame(rng, p)
	switch rng.IntN(8) {
	case 0, 1: // flip bits, mostly of the headers
		for range 1 + rng.IntN(3) {
			frame[12+rng.IntN(min(len(frame)-12, 64))] ^= 1 << rng.IntN(8)
		}
	case 2, 3:
		frame = frame[:rng.IntN(len(frame)+1)]
	case 4: // a field overwritten
		frame[12+rng.IntN(len(frame)-12)] = uint8(rng.Uint32())
	case 5:
		frame = append(frame, make([]byte, rng.IntN(20))...)
	}
	return frame
}

// Tagged returns a frame with the tag of a VLAN (IEEE 802.1Q), of the customer's or the
// provider's type; never that of VLAN 0, which a kernel takes off before anybody sees it.
func Tagged(rng *rand.Rand, frame []byte) []byte {
	tag := []byte{0x81, 0, uint8(rng.Uint32()), uint8(rng.Uint32()) | 1}
	if rng.IntN(4) == 0 {
		tag[0], tag[1] = 0x88, 0xa8
	}
	return slices.Insert(slices.Clone(frame), 12, tag...)
}

func randomFrame(rng *rand.Rand, p *portrules.Policy) []byte {
	dst := randomTarget(rng, p)
	src := randomClient(rng, dst.Is4())
	from, to := netip.AddrPortFrom(src, randomPort(rng, p)), netip.AddrPortFrom(dst, randomPort(rng, p))
	switch rng.IntN(22) {
	case 0, 1:
		return Ethernet(portrules.EtherTypeARP, randomARP(rng, p))
	case 2, 3:
		return randomNeighbor(rng, p)
	case 4:
		return EchoFrame(src, dst)
	case 5:
		if rng.IntN(2) == 0 {
			return randomPacket(rng, src, dst, portrules.ProtoSCTP, SCTP(from, to, randomBytes(rng, rng.IntN(64))))
		}
		return randomPacket(rng, src, dst, randomProtocol(rng), randomBytes(rng, rng.IntN(64)))
	case 6, 7, 8, 9:
		return randomPacket(rng, src, dst, portrules.ProtoUDP, UDP(from, to, randomBytes(rng, rng.IntN(64))))
	case 10:
		return randomBeacon(rng, p)
	case 11:
		return TCPFrame(to, from, ACK) // the way back
	case 12, 13:
		return randomError(rng, p, from, to)
	}
	return randomPacket(rng, src, dst, portrules.ProtoTCP, TCP(from, to, randomFlags(rng), randomBytes(rng, rng.IntN(64))))
}

// randomError returns an ICMP message, mostly an error about a packet that a VIP sent.
func randomError(rng *rand.Rand, p *portrules.Policy, client, vip netip.AddrPort) []byte {
	protocol, payload := uint8(portrules.ProtoTCP), TCP(vip, client, randomFlags(rng), nil)
	switch rng.IntN(8) {
	case 0, 1:
		protocol, payload = portrules.ProtoUDP, UDP(vip, client, randomBytes(rng, rng.IntN(32)))
	case 2:
		protocol, payload = randomProtocol(rng), randomBytes(rng, rng.IntN(32))
	}
	quoted := randomPacket(rng, vip.Addr(), client.Addr(), protocol, payload)[14:]
	if rng.IntN(3) == 0 {
		quoted = quoted[:rng.IntN(len(quoted)+1)]
	}
	to, router := vip.Addr(), randomClient(rng, vip.Addr().Is4())
	if rng.IntN(8) == 0 {
		if to = randomTarget(rng, p); to.Is4() != router.Is4() {
			to = vip.Addr()
		}
	}
	kind := uint8(1 + rng.IntN(4))
	if rng.IntN(3) == 0 {
		kind = uint8(rng.IntN(16))
	}
	frame := ErrorFrame(router, to, kind, quoted)
	if rng.IntN(4) != 0 {
		return frame
	}
	if to.Is4() {
		return randomPacket(rng, router, to, ICMP, frame[14+20:])
	}
	return randomPacket(rng, router, to, portrules.ProtoICMPv6, frame[14+40:])
}

// randomProtocol returns mostly one that the decision knows.
func randomProtocol(rng *rand.Rand) uint8 {
	known := []uint8{portrules.ProtoGRE, portrules.ProtoESP, portrules.ProtoAH, portrules.ProtoSCTP}
	if i := rng.IntN(len(known) + 2); i < len(known) {
		return known[i]
	}
	return uint8(rng.Uint32())
}

// randomPacket wraps a payload in options, extensions and fragments, or not.
func randomPacket(rng *rand.Rand, src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	offset, more := 0, false
	fragmented := rng.IntN(5) == 0
	if fragmented {
		offset, more = rng.IntN(3)*8, rng.IntN(2) == 0
	}
	id := uint32(rng.IntN(4)) * 0x4001
	if dst.Is4() {
		ip := IPv4{Src: src, Dst: dst, Protocol: protocol, ID: uint16(id), Offset: offset, More: more, Payload: payload}
		if rng.IntN(4) == 0 {
			ip.Options = make([]byte, rng.IntN(41))
		}
		return Ethernet(portrules.EtherTypeIPv4, ip.Bytes())
	}
	ip := IPv6{Src: src, Dst: dst, Protocol: protocol, Payload: payload}
	if rng.IntN(3) == 0 {
		for range rng.IntN(8) {
			ip.Extensions = append(ip.Extensions, randomExtension(rng))
		}
	}
	if fragmented {
		at := rng.IntN(len(ip.Extensions) + 1)
		ip.Extensions = append(ip.Extensions[:at:at], append([]Extension{FragmentHeader(id, offset, more)}, ip.Extensions[at:]...)...)
	}
	return Ethernet(portrules.EtherTypeIPv6, ip.Bytes())
}

func randomExtension(rng *rand.Rand) Extension {
	switch rng.IntN(8) {
	case 0:
		return AuthHeader(12 + 4*rng.IntN(4))
	case 1:
		return FragmentHeader(rng.Uint32(), 0, rng.IntN(2) == 0)
	}
	kinds := []uint8{HopByHop, Routing, Destination}
	return OptionsHeader(kinds[rng.IntN(len(kinds))], 8*(1+rng.IntN(4)))
}

func randomARP(rng *rand.Rand, p *portrules.Policy) []byte {
	address := func() netip.Addr {
		for range 8 {
			if a := randomTarget(rng, p); a.Is4() {
				return a
			}
		}
		return randomClient(rng, true)
	}
	sender, target := randomClient(rng, true), address()
	if rng.IntN(3) == 0 {
		sender = address()
	}
	return ARP(uint16(1+rng.IntN(2)), sender, target)
}

func randomNeighbor(rng *rand.Rand, p *portrules.Policy) []byte {
	address := func() netip.Addr {
		if a := randomTarget(rng, p); a.Is6() {
			return a
		}
		return randomClient(rng, false)
	}
	src, dst, target := randomClient(rng, false), address(), address()
	if rng.IntN(2) == 0 {
		return SolicitFrame(src, dst, target)
	}
	return AdvertFrame(src, dst, target)
}

// randomTarget returns mostly a VIP, sometimes an address that differs in one bit.
func randomTarget(rng *rand.Rand, p *portrules.Policy) netip.Addr {
	vip := p.VIPs[rng.IntN(len(p.VIPs))]
	if rng.IntN(8) != 0 {
		return vip
	}
	b := vip.AsSlice()
	b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	near, _ := netip.AddrFromSlice(b)
	return near
}

// randomClient returns one of a few hundred, or any address.
func randomClient(rng *rand.Rand, ipv4 bool) netip.Addr {
	if ipv4 {
		b := Client.As4()
		b[2], b[3] = uint8(rng.IntN(16)), uint8(rng.IntN(16))
		if rng.IntN(4) == 0 {
			copy(b[:], randomBytes(rng, 4))
		}
		return netip.AddrFrom4(b)
	}
	b := Client6.As16()
	b[7], b[15] = uint8(rng.IntN(16)), uint8(rng.IntN(16))
	if rng.IntN(4) == 0 {
		copy(b[:], randomBytes(rng, 16))
	}
	return netip.AddrFrom16(b)
}

// randomPort returns mostly the edge of a rule's range or the port next to it.
func randomPort(rng *rand.Rand, p *portrules.Policy) uint16 {
	if len(p.Rules) == 0 || rng.IntN(4) == 0 {
		return uint16(rng.Uint32())
	}
	r := p.Rules[rng.IntN(len(p.Rules))]
	edge := r.First
	if rng.IntN(2) == 0 {
		edge = r.Last
	}
	return edge + uint16(rng.IntN(3)) - 1
}

func randomFlags(rng *rand.Rand) uint8 {
	usual := []uint8{SYN, SYN, SYN, ACK, ACK, ACK, SYN | ACK, RST, FIN | ACK}
	if i := rng.IntN(len(usual) + 1); i < len(usual) {
		return usual[i]
	}
	return uint8(rng.Uint32())
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = uint8(rng.Uint32())
	}
	return b
}
