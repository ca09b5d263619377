package portrules

import (
	"encoding/binary"
	"net/netip"
)

// Rejection returns the Ethernet frame by which a member says that it takes no packets
// such as this one: a RST for TCP (RFC 9293 section 3.5.2), port unreachable for UDP
// (RFC 792, RFC 4443). frame may be cut off after its first 256 bytes. The result is
// nil where the sender must not be answered, or no reply is known.
func Rejection(frame []byte, source [6]byte) []byte {
	p := Parse(frame)
	if p.Kind != IP || p.Malformed || p.Fragment.Later || !answerable(p.Src) || frame[0] == 0xff {
		return nil
	}
	packet := frame[14:]
	var reply []byte
	switch {
	case p.Protocol == ProtoTCP && !p.Fragment.First:
		reply = reset(&p, packet)
	case p.Protocol == ProtoUDP:
		reply = unreachable(&p, packet)
	}
	if reply == nil {
		return nil
	}
	out := append([]byte(nil), frame[6:12]...)
	out = append(append(out, source[:]...), frame[12:14]...)
	return append(out, reply...)
}

// answerable reports whether an address is one host's: RFC 1122 section 3.2.2.
func answerable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// reset returns an IP packet with a RST, nil for a RST.
func reset(p *Packet, packet []byte) []byte {
	const fin, syn, rst, ack = 1, 2, 4, 16
	segment, length := transportOf(packet)
	flags := segment[13]
	if flags&rst != 0 {
		return nil
	}
	t := make([]byte, 20)
	binary.BigEndian.PutUint16(t, p.DstPort)
	binary.BigEndian.PutUint16(t[2:], p.SrcPort)
	t[12], t[13] = 5<<4, rst
	if flags&ack != 0 {
		copy(t[4:8], segment[8:12])
	} else {
		taken := max(0, length-int(segment[12]>>4)*4)
		for _, one := range []uint8{fin, syn} {
			if flags&one != 0 {
				taken++
			}
		}
		binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(segment[4:])+uint32(taken))
		t[13] = rst | ack
	}
	binary.BigEndian.PutUint16(t[16:], checksum(pseudoHeader(p, ProtoTCP, len(t)), t))
	return answer(p, ProtoTCP, t)
}

// unreachable returns an IP packet that says that nobody listens on the port.
func unreachable(p *Packet, packet []byte) []byte {
	quote := packet[:min(len(packet), packetLength(packet))]
	if p.Dst.Is4() {
		m := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quote...)
		binary.BigEndian.PutUint16(m[2:], checksum(m))
		return answer(p, ProtoICMP, m)
	}
	m := append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, quote...)
	binary.BigEndian.PutUint16(m[2:], checksum(pseudoHeader(p, ProtoICMPv6, len(m)), m))
	return answer(p, ProtoICMPv6, m)
}

// answer wraps a payload in an IP packet back to the sender of p.
func answer(p *Packet, protocol uint8, payload []byte) []byte {
	const hops = 64
	if p.Dst.Is4() {
		b := make([]byte, 20, 20+len(payload))
		b[0], b[6], b[8], b[9] = 4<<4|5, 0x40, hops, protocol // don't fragment
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
		copy(b[12:], p.Dst.AsSlice())
		copy(b[16:], p.Src.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(b))
		return append(b, payload...)
	}
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 6<<4, protocol, hops
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], p.Dst.AsSlice())
	copy(b[24:], p.Src.AsSlice())
	return append(b, payload...)
}

// packetLength is what the header says, in bytes.
func packetLength(packet []byte) int {
	if packet[0]>>4 == 4 {
		return int(binary.BigEndian.Uint16(packet[2:]))
	}
	return 40 + int(binary.BigEndian.Uint16(packet[4:]))
}

// transportOf returns what follows the IP headers of a well-formed packet, as far as
// it is there, and its whole length by the header.
func transportOf(packet []byte) (b []byte, length int) {
	_, b = headerIPv6(packet)
	if packet[0]>>4 == 4 {
		_, b = headerIPv4(packet)
	}
	return b, packetLength(packet) - (len(packet) - len(b))
}

// pseudoHeader is that of an answer to p (RFC 9293 section 3.1, RFC 8200 section 8.1;
// both add up to the same).
func pseudoHeader(p *Packet, protocol uint8, length int) []byte {
	b := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	return binary.BigEndian.AppendUint16(append(b, 0, protocol), uint16(length))
}

// checksum is the Internet checksum (RFC 1071) of parts, of which only the last may be
// of odd length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
