package l2

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Types of IGMPv3 group records (RFC 3376, section 4.2.12). "Exclude no source"
// is membership, "include no source" its end.
const (
	isExclude = 2 // current state
	toInclude = 3 // change: left
	toExclude = 4 // change: joined
)

// igmpFrames returns what a member of group says: an IGMPv2 report or leave
// message (RFC 2236) and an IGMPv3 report with one record (RFC 3376), so that
// snooping switches of either version understand. Source is an IPv4 address of
// the interface, or 0.0.0.0, which snooping switches must accept (RFC 4541,
// section 2.1.1).
func igmpFrames(mac net.HardwareAddr, source, group netip.Addr, record byte) [][]byte {
	allRouters, v3Routers := netip.AddrFrom4([4]byte{224, 0, 0, 2}), netip.AddrFrom4([4]byte{224, 0, 0, 22})
	g := group.As4()

	v2Type, v2Dst := byte(0x16), group
	if record == toInclude {
		v2Type, v2Dst = 0x17, allRouters
	}
	v2 := append([]byte{v2Type, 0, 0, 0}, g[:]...)
	v3 := append([]byte{0x22, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0}, g[:]...)
	return [][]byte{igmpFrame(mac, source, v2Dst, v2), igmpFrame(mac, source, v3Routers, v3)}
}

// igmpFrame wraps an IGMP message, whose checksum it fills in, with TTL 1 and
// the router alert option (RFC 2113).
func igmpFrame(mac net.HardwareAddr, source, dst netip.Addr, message []byte) []byte {
	binary.BigEndian.PutUint16(message[2:], checksum(message))

	const headerLen = 24
	ip := make([]byte, headerLen)
	ip[0] = 4<<4 | headerLen/4
	ip[1] = 0xc0 // internetwork control
	binary.BigEndian.PutUint16(ip[2:], uint16(headerLen+len(message)))
	binary.BigEndian.PutUint16(ip[6:], 0x4000) // do not fragment
	ip[8] = 1                                  // TTL
	ip[9] = unix.IPPROTO_IGMP
	copy(ip[12:], source.AsSlice())
	copy(ip[16:], dst.AsSlice())
	copy(ip[20:], []byte{0x94, 4, 0, 0}) // router alert
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))

	b := etherHeader(groupMAC(dst), mac, unix.ETH_P_IP)
	return append(append(b, ip...), message...)
}
