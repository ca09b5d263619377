package l2

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/opennlb/opennlb/config"
)

// ClusterAddr returns the VIP that all derived addresses come from: the first
// IPv4 VIP, or the first VIP where none is IPv4. It is the zero Addr when vips
// is empty.
func ClusterAddr(vips []netip.Addr) netip.Addr {
	for _, vip := range vips {
		if vip.Unmap().Is4() {
			return vip.Unmap()
		}
	}
	if len(vips) == 0 {
		return netip.Addr{}
	}
	return vips[0]
}

// ClusterMAC returns the MAC address that the members share, derived from
// vip = w.x.y.z: 02:bf:w:x:y:z in unicast mode, 03:bf:w:x:y:z in multicast mode,
// 01:00:5e:7f:y:z in IGMP mode. These are the addresses of Windows NLB, which
// switch vendors document. Of an IPv6 VIP w.x.y.z are the last four bytes.
func ClusterMAC(mode config.Mode, vip netip.Addr) net.HardwareAddr {
	b := lastFour(vip)
	switch mode {
	case config.Multicast:
		return net.HardwareAddr{0x03, 0xbf, b[0], b[1], b[2], b[3]}
	case config.IGMP:
		return net.HardwareAddr{0x01, 0x00, 0x5e, 0x7f, b[2], b[3]}
	default:
		return net.HardwareAddr{0x02, 0xbf, b[0], b[1], b[2], b[3]}
	}
}

// IsClusterMAC reports whether a MAC address is one that [ClusterMAC] may return, of
// whatever cluster.
func IsClusterMAC(mac net.HardwareAddr) bool {
	for _, prefix := range [][]byte{{0x02, 0xbf}, {0x03, 0xbf}, {0x01, 0x00, 0x5e, 0x7f}} {
		if len(mac) == 6 && bytes.HasPrefix(mac, prefix) {
			return true
		}
	}
	return false
}

// MemberMAC returns 02:PP:w:x:y:z, an address that only the member with this
// priority (1 to 32) sends from, so that switches never learn the cluster MAC.
func MemberMAC(priority uint8, vip netip.Addr) net.HardwareAddr {
	b := lastFour(vip)
	return net.HardwareAddr{0x02, priority, b[0], b[1], b[2], b[3]}
}

// IGMPGroup returns 239.255.y.z, the group whose Ethernet address (RFC 1112,
// section 6.4) is the cluster MAC of IGMP mode.
func IGMPGroup(vip netip.Addr) netip.Addr {
	b := lastFour(vip)
	return netip.AddrFrom4([4]byte{239, 255, b[2], b[3]})
}

// SourceMAC returns the Ethernet source of packets sent from a VIP. Setting is
// member.source_mac: "nic", "member", or "auto", which is the member's own MAC
// in unicast mode and the interface's otherwise.
func SourceMAC(mode config.Mode, setting string, priority uint8, vip netip.Addr, nic net.HardwareAddr) (net.HardwareAddr, error) {
	switch setting {
	case "nic":
		return nic, nil
	case "member":
		return MemberMAC(priority, vip), nil
	case "auto", "":
		if mode == config.Unicast {
			return MemberMAC(priority, vip), nil
		}
		return nic, nil
	default:
		return nil, fmt.Errorf("source_mac %q is unknown: write auto, nic or member", setting)
	}
}

func lastFour(addr netip.Addr) [4]byte {
	if addr.Is4() {
		return addr.As4()
	}
	b := addr.As16()
	return [4]byte(b[12:])
}
