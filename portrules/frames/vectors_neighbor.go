package frames

import (
	"encoding/binary"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraph 1: ARP.
func arpVectors() []Vector {
	p := mine()
	arp := func(name string, operation uint16, sender, target netip.Addr) Vector {
		return Vector{Name: "arp " + name, Policy: p, Frame: Ethernet(portrules.EtherTypeARP, ARP(operation, sender, target))}
	}
	// bad is a request for a VIP with one 16-bit field changed, or cut short.
	bad := func(name string, offset int, value uint16) Vector {
		v := arp(name, 1, Client, VIP4)
		binary.BigEndian.PutUint16(v.Frame[14+offset:], value)
		return v
	}
	short := arp("request cut short", 1, Client, VIP4)
	short.Frame = short.Frame[:14+27]
	expired := arp("request for a vip without a lease", 1, Client, VIP4)
	expired.LeaseOver = true
	return []Vector{
		arp("request for a vip", 1, Client, VIP4).drop(portrules.Neighbor, -1),
		arp("request for the second vip", 1, Client, VIP4b).drop(portrules.Neighbor, -1),
		expired.drop(portrules.Neighbor, -1),
		arp("request from a vip", 1, VIP4, Client).drop(portrules.Neighbor, -1),
		arp("announcement of a vip", 1, VIP4, VIP4).drop(portrules.Neighbor, -1),
		arp("reply from a vip", 2, VIP4, Client).drop(portrules.Neighbor, -1),
		arp("reply from a vip to a vip", 2, VIP4, VIP4b).drop(portrules.Neighbor, -1),
		arp("reply to a vip", 2, Client, VIP4).accept(portrules.NeighborReply, -1),
		arp("other operation to a vip", 3, Client, VIP4).drop(portrules.Neighbor, -1),
		arp("request for the dedicated address", 1, Client, Own4).pass(),
		arp("reply to the dedicated address", 2, Client, Own4).pass(),
		bad("of hardware IEEE 802", 0, 6).drop(portrules.Neighbor, -1),
		bad("of other hardware", 0, 7).drop(portrules.Neighbor, -1),
		bad("of other protocol", 2, portrules.EtherTypeIPv6).pass(),
		bad("of other hardware size", 4, 8<<8|4).pass(),
		bad("of other protocol size", 4, 6<<8|16).pass(),
		short.pass(),
	}
}

// Paragraph 2: NDP. In IPv4 the same bytes are a protocol without ports.
func (f family) neighborVectors() []Vector {
	if f.vip.Is4() {
		body := ICMPv6(VIP6, VIP6, 135, neighbor(0, VIP6, 1))
		return []Vector{
			Vector{Name: "protocol 58 is no ndp", Policy: mine(), Frame: f.packet(portrules.ProtoICMPv6, body)}.
				accept(portrules.DefaultHost, -1),
		}
	}
	p := mine()
	group := netip.MustParseAddr("ff02::1:ff00:10") // solicited-node address of the VIP
	vector := func(name string, frame []byte) Vector {
		return Vector{Name: "ndp " + name, Policy: p, Frame: frame}
	}
	// bare messages have no link-layer address option.
	bare := ICMPv6(f.client, f.vip, 135, neighbor(0, f.vip, 1)[:20])
	behind := IPv6{Src: f.client, Dst: f.vip, Protocol: portrules.ProtoICMPv6, Payload: bare,
		Extensions: []Extension{OptionsHeader(HopByHop, 8)}}
	expired := vector("solicitation of a vip without a lease", SolicitFrame(f.client, group, f.vip))
	expired.LeaseOver = true
	return []Vector{
		vector("solicitation of a vip, to its group", SolicitFrame(f.client, group, f.vip)).drop(portrules.Neighbor, -1),
		vector("solicitation of a vip, unicast", SolicitFrame(f.client, f.vip, f.vip)).drop(portrules.Neighbor, -1),
		vector("solicitation of a vip, to another", SolicitFrame(f.client, f.own, f.vip)).drop(portrules.Neighbor, -1),
		expired.drop(portrules.Neighbor, -1),
		vector("solicitation of 24 bytes", f.packet(portrules.ProtoICMPv6, bare)).drop(portrules.Neighbor, -1),
		vector("solicitation of 23 bytes", f.packet(portrules.ProtoICMPv6, bare[:23])).accept(portrules.DefaultHost, -1),
		vector("solicitation behind an extension", Ethernet(portrules.EtherTypeIPv6, behind.Bytes())).accept(portrules.DefaultHost, -1),
		vector("solicitation to a vip of another address", SolicitFrame(f.client, f.vip, f.own)).accept(portrules.DefaultHost, -1),
		vector("solicitation of the dedicated address", SolicitFrame(f.client, f.own, f.own)).pass(),
		vector("advertisement of a vip", AdvertFrame(f.vip, f.client, f.vip)).drop(portrules.Neighbor, -1),
		vector("advertisement of a vip to a vip", AdvertFrame(f.other, f.vip, f.other)).drop(portrules.Neighbor, -1),
		vector("advertisement to a vip", AdvertFrame(f.client, f.vip, f.client)).accept(portrules.NeighborReply, -1),
		vector("advertisement to the dedicated address", AdvertFrame(f.client, f.own, f.client)).pass(),
		vector("router solicitation to a vip", f.packet(portrules.ProtoICMPv6, ICMPv6(f.client, f.vip, 133, make([]byte, 28)))).
			accept(portrules.DefaultHost, -1),
		vector("redirect about a vip", Frame(f.client, f.own, portrules.ProtoICMPv6, ICMPv6(f.client, f.own, 137, neighbor(0, f.vip, 1)))).pass(),
	}
}

// An IPv4 VIP is no IPv6 VIP: an engine that keeps both in one 16-byte map must
// not take an IPv4-mapped address for it.
func mappedVectors() []Vector {
	mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
	p := mine()
	syn := TCP(netip.AddrPortFrom(Client, ClientPort), netip.AddrPortFrom(VIP4, 80), SYN, nil)
	frame := func(b []byte) []byte { return Ethernet(portrules.EtherTypeIPv6, b) }
	return []Vector{
		Vector{Name: "ipv6 to an ipv4-mapped vip", Policy: p,
			Frame: frame(IPv6{Src: Client6, Dst: mapped(VIP4), Protocol: portrules.ProtoTCP, Payload: syn}.Bytes())}.pass(),
		Vector{Name: "ipv6 ndp solicitation of an ipv4-mapped vip", Policy: p,
			Frame: SolicitFrame(Client6, Own6, mapped(VIP4))}.pass(),
		Vector{Name: "ipv6 from an ipv4-mapped client hashes 16 bytes", Policy: OneBucket(WebTable, append(append(make([]byte, 10), 0xff, 0xff), 198, 51, 100, 7, 0x9c, 0x40)),
			Frame: frame(IPv6{Src: mapped(Client), Dst: VIP6, Protocol: portrules.ProtoTCP, Payload: syn}.Bytes())}.accept(portrules.New, Web),
	}
}
