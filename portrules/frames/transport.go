package frames

import (
	"encoding/binary"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// TCPFrame returns an Ethernet frame with a TCP segment.
func TCPFrame(src, dst netip.AddrPort, flags uint8) []byte {
	return Frame(src.Addr(), dst.Addr(), portrules.ProtoTCP, TCP(src, dst, flags, nil))
}

// UDPFrame returns an Ethernet frame with a UDP datagram.
func UDPFrame(src, dst netip.AddrPort) []byte {
	return Frame(src.Addr(), dst.Addr(), portrules.ProtoUDP, UDP(src, dst, []byte("payload")))
}

// EchoFrame returns an Ethernet frame with an ICMP or ICMPv6 echo request.
func EchoFrame(src, dst netip.Addr) []byte {
	body := []byte{0, 1, 0, 1, 'p', 'i', 'n', 'g'}
	if dst.Is4() {
		return Frame(src, dst, ICMP, ICMPv4(8, body))
	}
	return Frame(src, dst, portrules.ProtoICMPv6, ICMPv6(src, dst, 128, body))
}

// ErrorFrame returns an Ethernet frame with an ICMP or ICMPv6 error, by the family of
// dst, that quotes an IP packet.
func ErrorFrame(src, dst netip.Addr, kind uint8, quoted []byte) []byte {
	body := append([]byte{0, 0, 5, 0x78}, quoted...) // fragmentation needed, too big: MTU 1400
	if dst.Is4() {
		return Frame(src, dst, ICMP, ICMPv4(kind, body))
	}
	return Frame(src, dst, portrules.ProtoICMPv6, ICMPv6(src, dst, kind, body))
}

// SolicitFrame returns an Ethernet frame with an NDP neighbor solicitation (RFC
// 4861 section 4.3).
func SolicitFrame(src, dst, target netip.Addr) []byte {
	return Frame(src, dst, portrules.ProtoICMPv6, ICMPv6(src, dst, 135, neighbor(0, target, 1)))
}

// AdvertFrame returns an Ethernet frame with a solicited NDP neighbor
// advertisement (RFC 4861 section 4.4).
func AdvertFrame(src, dst, target netip.Addr) []byte {
	return Frame(src, dst, portrules.ProtoICMPv6, ICMPv6(src, dst, 136, neighbor(0x60, target, 2)))
}

// TCP returns the first segment of a connection (RFC 9293).
func TCP(src, dst netip.AddrPort, flags uint8, payload []byte) []byte {
	return Segment(src, dst, flags, 1, 0, payload)
}

// Segment returns a TCP segment with these sequence and acknowledgment numbers.
func Segment(src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12] = 5 << 4
	b[13] = flags
	binary.BigEndian.PutUint16(b[14:], 65535)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], pseudoChecksum(src.Addr(), dst.Addr(), portrules.ProtoTCP, b))
	return b
}

// UDP returns a UDP datagram (RFC 768).
func UDP(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	sum := pseudoChecksum(src.Addr(), dst.Addr(), portrules.ProtoUDP, b)
	if sum == 0 {
		sum = 0xffff // zero says that there is no checksum
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// SCTP returns an SCTP packet with the common header only (RFC 9260 section 3.1); its
// checksum is left out.
func SCTP(src, dst netip.AddrPort, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	return append(append(b, make([]byte, 8)...), payload...)
}

// ICMPv4 returns an ICMP message with code 0 (RFC 792); body starts after the
// checksum.
func ICMPv4(kind uint8, body []byte) []byte {
	b := append([]byte{kind, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// ICMPv6 returns an ICMPv6 message with code 0 (RFC 4443); body starts after the
// checksum.
func ICMPv6(src, dst netip.Addr, kind uint8, body []byte) []byte {
	b := append([]byte{kind, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], pseudoChecksum(src, dst, portrules.ProtoICMPv6, b))
	return b
}

// neighbor returns the body of an NDP message with one link-layer address option.
func neighbor(flags uint8, target netip.Addr, option uint8) []byte {
	b := append([]byte{flags, 0, 0, 0}, target.AsSlice()...)
	return append(append(b, option, 1), ClientMAC[:]...)
}

// checksum is the Internet checksum (RFC 1071) of parts of even length; the last
// may be odd.
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

// pseudoChecksum includes the pseudo-header of RFC 9293 section 3.1 or RFC 8200
// section 8.1, which add up to the same.
func pseudoChecksum(src, dst netip.Addr, protocol uint8, b []byte) uint16 {
	return checksum(src.AsSlice(), dst.AsSlice(), []byte{0, protocol}, binary.BigEndian.AppendUint16(nil, uint16(len(b))), b)
}
