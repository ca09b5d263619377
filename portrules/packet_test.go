package portrules_test

import (
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func TestParse(t *testing.T) {
	from4, to4 := netip.AddrPortFrom(frames.Client, 40000), netip.AddrPortFrom(frames.VIP4, 80)
	from6, to6 := netip.AddrPortFrom(frames.Client6, 40000), netip.AddrPortFrom(frames.VIP6, 53)
	fragment := frames.IPv4{Src: from4.Addr(), Dst: to4.Addr(), Protocol: portrules.ProtoUDP, ID: 0xffff, Offset: 8, Payload: []byte{1}}
	beacon := frames.Beacon{View: 5, Epoch: 6, Instance: 7, Seq: 8, By: 1}
	whole := [portrules.BeaconSize]byte(beacon.Bytes(frames.BeaconKey))
	part := [portrules.BeaconSize]byte{'N', 'L', 'B', 1, 5}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  portrules.Packet
	}{
		{"empty", nil, portrules.Packet{}},
		{"header cut", make([]byte, 13), portrules.Packet{}},
		{"beacon", append(beacon.Frame(), 1, 2), portrules.Packet{Kind: portrules.Beacon, Beacon: whole}},
		{"beacon cut", beacon.Frame()[:14+8], portrules.Packet{Kind: portrules.Beacon, Malformed: true, Beacon: part}},
		{"arp reply", frames.Ethernet(portrules.EtherTypeARP, frames.ARP(2, from4.Addr(), to4.Addr())),
			portrules.Packet{Kind: portrules.ARP, Src: from4.Addr(), Dst: to4.Addr(), ARPReply: true}},
		{"tcp", frames.TCPFrame(from4, to4, frames.SYN), portrules.Packet{Kind: portrules.IP, Src: from4.Addr(), Dst: to4.Addr(),
			Protocol: portrules.ProtoTCP, SrcPort: 40000, DstPort: 80, SYN: true}},
		{"udp", frames.UDPFrame(from6, to6), portrules.Packet{Kind: portrules.IP, Src: from6.Addr(), Dst: to6.Addr(),
			Protocol: portrules.ProtoUDP, SrcPort: 40000, DstPort: 53}},
		{"advertisement", frames.AdvertFrame(from6.Addr(), to6.Addr(), frames.Own6), portrules.Packet{Kind: portrules.IP,
			Src: from6.Addr(), Dst: to6.Addr(), Target: frames.Own6, Advert: true, Protocol: portrules.ProtoICMPv6}},
		{"later fragment", frames.Ethernet(portrules.EtherTypeIPv4, fragment.Bytes()), portrules.Packet{Kind: portrules.IP,
			Src: from4.Addr(), Dst: to4.Addr(), Protocol: portrules.ProtoUDP, Fragment: portrules.Fragment{Later: true, Plain: true,
				Key: portrules.FragmentKey{Src: from4.Addr(), Dst: to4.Addr(), ID: 0xffff, Protocol: portrules.ProtoUDP}}}},
	} {
		if got := portrules.Parse(tt.frame); got != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

// Every vector, cut at every length, is parsed without reading past its end.
func TestParseTruncated(t *testing.T) {
	for _, v := range frames.Vectors() {
		for n := range v.Frame {
			portrules.Parse(v.Frame[:n:n])
		}
	}
}
