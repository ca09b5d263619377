package l2

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

const (
	etherLen   = 14
	ipv6Len    = 40
	neighMax   = 1500 // a frame with more neighbour discovery options is not read
	typeNS     = 135  // RFC 4861, section 4.3
	typeNA     = 136  // RFC 4861, section 4.4
	protoICMP6 = 58
)

var (
	errNotNeighbor = errors.New("neither ARP nor neighbour discovery")
	errMalformed   = errors.New("malformed")
)

// neighbor is what an ARP packet or a neighbour solicitation or advertisement
// says, in terms common to them.
type neighbor struct {
	etherDst, etherSrc net.HardwareAddr

	query  bool       // asks for target
	target netip.Addr // the address asked for

	// The address that the frame says is at ownerMAC; zero or unspecified
	// where it says nothing of the kind, as in probes.
	owner    netip.Addr
	ownerMAC net.HardwareAddr

	// Where an answer goes.
	source    netip.Addr
	sourceMAC net.HardwareAddr
}

// parseNeighbor reads an Ethernet frame. It returns errNotNeighbor or
// errMalformed.
func parseNeighbor(frame []byte) (neighbor, error) {
	if len(frame) < etherLen {
		return neighbor{}, errMalformed
	}
	n := neighbor{etherDst: frame[0:6], etherSrc: frame[6:12]}
	if isGroup(n.etherSrc) || isZero(n.etherSrc) {
		return neighbor{}, errMalformed
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		return parseARP(n, frame[etherLen:])
	case unix.ETH_P_IPV6:
		return parseNDP(n, frame[etherLen:])
	default:
		return neighbor{}, errNotNeighbor
	}
}

// parseARP reads ARP for IPv4 over Ethernet (RFC 826).
func parseARP(n neighbor, b []byte) (neighbor, error) {
	var p arp.Packet
	if err := p.UnmarshalBinary(b); err != nil {
		return neighbor{}, errMalformed
	}
	if p.HardwareType != unix.ARPHRD_ETHER || p.ProtocolType != unix.ETH_P_IP {
		return neighbor{}, errNotNeighbor
	}
	if p.HardwareAddrLength != 6 || p.IPLength != 4 {
		return neighbor{}, errMalformed
	}
	switch p.Operation {
	case arp.OperationRequest:
		n.query, n.target = true, p.TargetIP
	case arp.OperationReply:
	default:
		return neighbor{}, errNotNeighbor
	}
	n.owner, n.ownerMAC = p.SenderIP, p.SenderHardwareAddr // a probe claims 0.0.0.0: RFC 5227
	// Another cluster's members ask with its cluster MAC, which can be a group.
	n.source, n.sourceMAC = p.SenderIP, p.SenderHardwareAddr
	if isGroup(n.sourceMAC) || isZero(n.sourceMAC) {
		n.sourceMAC = n.etherSrc
	}
	return n, nil
}

// parseNDP reads a neighbour solicitation or advertisement, with the checks of
// RFC 4861, sections 7.1.1 and 7.1.2.
func parseNDP(n neighbor, b []byte) (neighbor, error) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return neighbor{}, errMalformed
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	body := b[ipv6Len:]
	if b[6] != protoICMP6 || len(body) == 0 || (body[0] != typeNS && body[0] != typeNA) {
		return neighbor{}, errNotNeighbor
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size > len(body) || size < 24 {
		return neighbor{}, errMalformed
	}
	body = body[:size]
	if hops, code := b[7], body[1]; hops != ndp.HopLimit || code != 0 || checksum6(src, dst, body) != 0 {
		return neighbor{}, errMalformed
	}
	m, err := ndp.ParseMessage(body)
	if err != nil {
		return neighbor{}, errMalformed
	}
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		return solicitation(n, m, src, dst)
	case *ndp.NeighborAdvertisement:
		return advertisement(n, m, dst)
	default:
		return neighbor{}, errNotNeighbor
	}
}

func solicitation(n neighbor, m *ndp.NeighborSolicitation, src, dst netip.Addr) (neighbor, error) {
	option := linkLayerAddr(m.Options, ndp.Source)
	if src.IsMulticast() || m.TargetAddress.IsMulticast() {
		return neighbor{}, errMalformed
	}
	if src.IsUnspecified() && (option != nil || !dst.IsMulticast()) {
		return neighbor{}, errMalformed
	}
	n.query, n.target = true, m.TargetAddress
	n.source, n.sourceMAC = src, n.etherSrc
	if option == nil {
		return n, nil
	}
	n.owner, n.ownerMAC = src, option
	if !isGroup(option) && !isZero(option) {
		n.sourceMAC = option
	}
	return n, nil
}

func advertisement(n neighbor, m *ndp.NeighborAdvertisement, dst netip.Addr) (neighbor, error) {
	if m.TargetAddress.IsMulticast() || (m.Solicited && dst.IsMulticast()) {
		return neighbor{}, errMalformed
	}
	n.owner, n.ownerMAC = m.TargetAddress, linkLayerAddr(m.Options, ndp.Target)
	if n.ownerMAC == nil {
		n.ownerMAC = n.etherSrc
	}
	return n, nil
}

func linkLayerAddr(options []ndp.Option, d ndp.Direction) net.HardwareAddr {
	for _, o := range options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == d && len(lla.Addr) == 6 {
			return lla.Addr
		}
	}
	return nil
}

func isZero(mac net.HardwareAddr) bool {
	for _, b := range mac {
		if b != 0 {
			return false
		}
	}
	return true
}

func broadcast() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }
