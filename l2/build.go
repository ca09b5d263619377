package l2

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// arpFrame builds an Ethernet frame from src to dst that carries an ARP packet.
// All IP addresses are IPv4.
func arpFrame(dst, src net.HardwareAddr, op arp.Operation, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(op, senderMAC, sender, targetMAC, target)
	if err != nil {
		return nil, fmt.Errorf("building ARP for %s: %w", sender, err)
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("building ARP for %s: %w", sender, err)
	}
	return append(etherHeader(dst, src, unix.ETH_P_ARP), b...), nil
}

// ndpFrame builds an Ethernet frame from src to dst that carries a neighbour
// discovery message between IPv6 addresses from and to.
func ndpFrame(dst, src net.HardwareAddr, from, to netip.Addr, m ndp.Message) ([]byte, error) {
	body, err := ndp.MarshalMessageChecksum(m, from, to)
	if err != nil {
		return nil, fmt.Errorf("building a neighbour discovery message from %s: %w", from, err)
	}
	b := etherHeader(dst, src, unix.ETH_P_IPV6)
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, protoICMP6, ndp.HopLimit)
	b = append(b, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	return append(b, body...), nil
}

func etherHeader(dst, src net.HardwareAddr, etherType uint16) []byte {
	b := make([]byte, 0, 128)
	b = append(b, dst...)
	b = append(b, src...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// groupMAC returns the Ethernet address of an IP multicast group: RFC 1112,
// section 6.4, and RFC 2464, section 7.
func groupMAC(group netip.Addr) net.HardwareAddr {
	b := lastFour(group)
	if group.Is4() {
		return net.HardwareAddr{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{0x33, 0x33, b[0], b[1], b[2], b[3]}
}

// solicitedNode returns ff02::1:ffXX:XXXX (RFC 4291, section 2.7.1).
func solicitedNode(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// checksum6 is the ICMPv6 checksum (RFC 4443, section 2.3); 0 for a message whose
// checksum field is right.
func checksum6(src, dst netip.Addr, body []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, protoICMP6)
	return checksum(append(pseudo, body...))
}

// checksum is the Internet checksum (RFC 1071); 0 over data that includes a
// right one.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
