package portrules

import (
	"encoding/binary"
	"net/netip"
)

// Kind is the first thing that the decision asks of a frame.
type Kind uint8

const (
	Other  Kind = iota // nothing that can concern a VIP
	ARP                // for IPv4, with MAC addresses
	IP                 // IPv4 or IPv6, fixed header complete
	Beacon             // the coordinator's word to the members, by its EtherType and magic
)

// IP protocol numbers that the decision knows (IANA protocol-numbers).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoGRE    = 47
	ProtoESP    = 50
	ProtoAH     = 51
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// EtherTypes that the decision knows (IEEE 802 numbers).
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeIPv6 = 0x86dd

	EtherTypeBeacon = 0x88b5 // local experimental 1
)

// Packet holds what the decision needs of one frame.
type Packet struct {
	Kind Kind
	Src  netip.Addr // sender's IP address; none in a beacon
	Dst  netip.Addr // destination, ARP: target IP address; none in a beacon

	ARPReply bool       // ARP operation 2
	Target   netip.Addr // NDP solicitation or advertisement: its target; else zero
	Advert   bool       // NDP advertisement

	Malformed bool // truncated, inconsistent, or too many IPv6 extensions

	Beacon [BeaconSize]byte // as it came, unless Malformed; nobody has looked at the tag

	// The rest is for Kind IP, and holds where Malformed is false.

	Protocol uint8    // after the IPv6 extension headers
	Fragment Fragment // zero for a whole packet
	SrcPort  uint16   // TCP, UDP and SCTP, not in a later fragment
	DstPort  uint16
	SYN      bool  // TCP with SYN set and ACK clear
	Quote    Quote // what an ICMP error is about; zero where that cannot be told
}

// Fragment says which part of a fragmented datagram a packet is.
type Fragment struct {
	First bool // offset zero, more to come
	Later bool // offset not zero: there are no ports to see
	Plain bool // Later, and nothing about it that a kernel might answer with an ICMP error
	Key   FragmentKey
}

// FragmentKey is what the fragments of one datagram have in common (RFC 791
// section 3.2, RFC 8200 section 4.5).
type FragmentKey struct {
	Src, Dst netip.Addr
	ID       uint32 // IPv4: 16 bits, zero-extended
	Protocol uint8  // IPv6: next header of the fragment header
}

// Flow is one direction of a TCP connection as the client's packets name it.
type Flow struct {
	Src, Dst netip.AddrPort
}

// Flow returns the flow that the packet belongs to, or that it tells of, if it is an
// ICMP error.
func (p *Packet) Flow() Flow {
	if p.Quote.Protocol != 0 {
		return p.Quote.Flow
	}
	return Flow{Src: netip.AddrPortFrom(p.Src, p.SrcPort), Dst: netip.AddrPortFrom(p.Dst, p.DstPort)}
}

// Parse reads an Ethernet frame. It takes any bytes and allocates nothing.
func Parse(frame []byte) Packet {
	if len(frame) < 14 {
		return Packet{}
	}
	payload := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case EtherTypeARP:
		return parseARP(payload)
	case EtherTypeIPv4:
		return parseIPv4(payload)
	case EtherTypeIPv6:
		return parseIPv6(payload)
	case EtherTypeBeacon:
		return parseBeacon(payload)
	}
	return Packet{}
}

// parseARP reads IPv4 over Ethernet (RFC 826). The hardware type plays no part: Linux
// answers that of IEEE 802 as well as that of Ethernet.
func parseARP(b []byte) Packet {
	if len(b) < 28 || binary.BigEndian.Uint16(b[2:]) != EtherTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return Packet{}
	}
	return Packet{
		Kind:     ARP,
		Src:      netip.AddrFrom4([4]byte(b[14:])),
		Dst:      netip.AddrFrom4([4]byte(b[24:])),
		ARPReply: binary.BigEndian.Uint16(b[6:]) == 2,
	}
}

func parseIPv4(b []byte) Packet {
	p, payload := headerIPv4(b)
	if p.Kind == IP && !p.Malformed {
		p.transport(payload)
	}
	return p
}

// headerIPv4 reads an IPv4 header and returns what follows it.
func headerIPv4(b []byte) (p Packet, payload []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Packet{}, nil
	}
	p = Packet{
		Kind:     IP,
		Src:      netip.AddrFrom4([4]byte(b[12:])),
		Dst:      netip.AddrFrom4([4]byte(b[16:])),
		Protocol: b[9],
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || header > len(b) {
		p.Malformed = true
		return p, nil
	}
	part := binary.BigEndian.Uint16(b[6:])
	p.fragment(part&0x1fff != 0, part&0x2000 != 0, uint32(binary.BigEndian.Uint16(b[4:])))
	p.Fragment.Plain = p.Fragment.Later && header == 20
	return p, b[header:]
}

func parseIPv6(b []byte) Packet {
	p, payload := headerIPv6(b)
	if p.Kind == IP && b[6] == ProtoICMPv6 {
		p.neighbor(b[40:])
	}
	if p.Kind == IP && !p.Malformed {
		p.transport(payload)
	}
	return p
}

// headerIPv6 reads an IPv6 header and its extensions and returns what follows them.
func headerIPv6(b []byte) (p Packet, payload []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return Packet{}, nil
	}
	p = Packet{
		Kind:     IP,
		Src:      netip.AddrFrom16([16]byte(b[8:])),
		Dst:      netip.AddrFrom16([16]byte(b[24:])),
		Protocol: b[6],
	}
	payload, ok := p.extensions(b[40:])
	p.Malformed = !ok
	p.Fragment.Plain = p.Fragment.Later && isPlainFragment(b)
	return p, payload
}

// isPlainFragment reports whether the fragment header of an IPv6 packet comes first,
// is that of a later fragment, and leads to no error of RFC 8200 section 4.5.
func isPlainFragment(b []byte) bool {
	if b[6] != extFragment {
		return false
	}
	part, length := binary.BigEndian.Uint16(b[42:]), int(binary.BigEndian.Uint16(b[4:]))
	offset, more := int(part&0xfff8), part&1 != 0
	return offset != 0 && length > 8 && (!more || length%8 == 0) && offset+length-8 <= 65535
}

// neighbor notes the target of an NDP solicitation or advertisement that follows
// the fixed header directly (RFC 4861 sections 4.3 and 4.4).
func (p *Packet) neighbor(b []byte) {
	if len(b) < 24 || b[0] != 135 && b[0] != 136 {
		return
	}
	p.Target = netip.AddrFrom16([16]byte(b[8:]))
	p.Advert = b[0] == 136
}

const (
	maxExtensions = 6

	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
)

// extensions walks the IPv6 extension headers (RFC 8200 section 4, RFC 4302) and
// returns what follows them, and false where they are cut off or too many. A later
// fragment ends the walk: what follows it is payload.
func (p *Packet) extensions(b []byte) ([]byte, bool) {
	for range maxExtensions {
		if !extension(p.Protocol) {
			return b, true
		}
		if len(b) < 8 {
			return nil, false
		}
		next, size := b[0], 8
		switch p.Protocol {
		case extFragment:
			part := binary.BigEndian.Uint16(b[2:])
			p.Protocol = next
			p.fragment(part&0xfff8 != 0, part&1 != 0, binary.BigEndian.Uint32(b[4:]))
		case extAuth:
			size = (int(b[1]) + 2) * 4
		default:
			size = (int(b[1]) + 1) * 8
		}
		if len(b) < size {
			return nil, false
		}
		p.Protocol, b = next, b[size:]
		if p.Fragment.Later {
			return b, true
		}
	}
	return b, !extension(p.Protocol)
}

func extension(protocol uint8) bool {
	switch protocol {
	case extHopByHop, extRouting, extFragment, extAuth, extDestination:
		return true
	}
	return false
}

// fragment notes a fragment; p.Protocol is that of the fragment header. Of several
// fragment headers the last counts, unless it is "atomic" (RFC 6946).
func (p *Packet) fragment(later, more bool, id uint32) {
	if !later && !more {
		return
	}
	p.Fragment = Fragment{
		First: !later,
		Later: later,
		Key:   FragmentKey{Src: p.Src, Dst: p.Dst, ID: id, Protocol: p.Protocol},
	}
}

// transport reads the ports; b starts at the transport header.
func (p *Packet) transport(b []byte) {
	if p.Fragment.Later {
		return
	}
	switch p.Protocol {
	case ProtoTCP:
		if len(b) < 20 {
			p.Malformed = true
			return
		}
		p.SYN = b[13]&0x12 == 0x02
	case ProtoUDP:
		if len(b) < 8 {
			p.Malformed = true
			return
		}
	case ProtoSCTP:
		if len(b) < 12 {
			p.Malformed = true
			return
		}
	case ProtoICMP, ProtoICMPv6:
		p.quote(b)
		return
	default:
		return
	}
	p.SrcPort = binary.BigEndian.Uint16(b)
	p.DstPort = binary.BigEndian.Uint16(b[2:])
}
