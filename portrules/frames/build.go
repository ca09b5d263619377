// Package frames builds Ethernet frames for tests, from layers, with valid lengths
// and checksums; lists the vectors that every engine of the data plane is tested
// with; and generates random frames and policies for differential tests.
package frames

import (
	"encoding/binary"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// TCP flags (RFC 9293 section 3.1).
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// IP protocol numbers of layers that the builder knows.
const (
	ICMP        = 1
	HopByHop    = 0
	Routing     = 43
	Fragment    = 44
	Auth        = 51
	NoNext      = 59
	Destination = 60
)

// Ethernet returns a frame from ClientMAC to ClusterMAC. It is not padded.
func Ethernet(etherType uint16, payload []byte) []byte {
	b := append(ClusterMAC[:], ClientMAC[:]...)
	return append(binary.BigEndian.AppendUint16(b, etherType), payload...)
}

// ARP returns an ARP packet (RFC 826): operation 1 asks who has target, 2 says
// that sender is at ClientMAC.
func ARP(operation uint16, sender, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(b, ClientMAC[:]...)
	b = append(b, sender.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

// IPv4 is an IPv4 packet (RFC 791). Zero fields mean what is usual.
type IPv4 struct {
	Src, Dst netip.Addr
	Protocol uint8
	Options  []byte // padded with zeros to 32-bit words
	ID       uint16
	Offset   int  // of a fragment, in bytes, a multiple of 8
	More     bool // more fragments follow
	Payload  []byte
}

// Bytes encodes the packet.
func (p IPv4) Bytes() []byte {
	options := append([]byte(nil), p.Options...)
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	b := make([]byte, 20, 20+len(options)+len(p.Payload))
	b = append(b, options...)
	b[0] = 4<<4 | uint8(len(b)/4)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(p.Payload)))
	binary.BigEndian.PutUint16(b[4:], p.ID)
	part := uint16(p.Offset / 8)
	if p.More {
		part |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], part)
	b[8] = 64
	b[9] = p.Protocol
	copy(b[12:], p.Src.AsSlice())
	copy(b[16:], p.Dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, p.Payload...)
}

// IPv6 is an IPv6 packet (RFC 8200).
type IPv6 struct {
	Src, Dst   netip.Addr
	Extensions []Extension
	Protocol   uint8 // after the extensions
	Payload    []byte
}

// Extension is an IPv6 extension header.
type Extension struct {
	Protocol uint8
	Body     []byte // what follows the next-header byte
}

// Bytes encodes the packet.
func (p IPv6) Bytes() []byte {
	var chain []byte
	for i, e := range p.Extensions {
		chain = append(append(chain, p.after(i)), e.Body...)
	}
	b := make([]byte, 40, 40+len(chain)+len(p.Payload))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(chain)+len(p.Payload)))
	b[6] = p.after(-1)
	b[7] = 64
	copy(b[8:], p.Src.AsSlice())
	copy(b[24:], p.Dst.AsSlice())
	return append(append(b, chain...), p.Payload...)
}

// after returns the protocol of the header after extension i.
func (p IPv6) after(i int) uint8 {
	if i+1 < len(p.Extensions) {
		return p.Extensions[i+1].Protocol
	}
	return p.Protocol
}

// OptionsHeader returns a hop-by-hop, routing or destination options header of
// the given length, a multiple of 8 bytes up to 2048. Its zeros are Pad1 options,
// or the fields of a routing header with no segments left.
func OptionsHeader(protocol uint8, length int) Extension {
	body := make([]byte, length-1)
	body[0] = uint8(length/8 - 1)
	return Extension{protocol, body}
}

// AuthHeader returns an authentication header (RFC 4302) of the given length, a
// multiple of 4 bytes and at least 12.
func AuthHeader(length int) Extension {
	body := make([]byte, length-1)
	body[0] = uint8(length/4 - 2)
	return Extension{Auth, body}
}

// FragmentHeader returns a fragment header; offset in bytes, a multiple of 8.
func FragmentHeader(id uint32, offset int, more bool) Extension {
	part := uint16(offset)
	if more {
		part |= 1
	}
	body := binary.BigEndian.AppendUint16([]byte{0}, part)
	return Extension{Fragment, binary.BigEndian.AppendUint32(body, id)}
}

// Frame returns an Ethernet frame with an IPv4 or IPv6 packet, by the family of dst.
func Frame(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	if dst.Is4() {
		return Ethernet(portrules.EtherTypeIPv4, IPv4{Src: src, Dst: dst, Protocol: protocol, Payload: payload}.Bytes())
	}
	return Ethernet(portrules.EtherTypeIPv6, IPv6{Src: src, Dst: dst, Protocol: protocol, Payload: payload}.Bytes())
}
