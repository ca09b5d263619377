package l2

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
)

var (
	vip4, vip6           = netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	dedicated            = netip.MustParseAddr("192.0.2.1")
	clientIP4, clientIP6 = netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")
	cluster              = net.HardwareAddr{2, 0xbf, 192, 0, 2, 10}
	member               = net.HardwareAddr{2, 1, 192, 0, 2, 10}
	nic                  = net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}
	client               = net.HardwareAddr{2, 0xcc, 0, 0, 0, 77}
	other                = net.HardwareAddr{2, 0xee, 0, 0, 0, 9}
	noMAC                = make(net.HardwareAddr, 6)
)

func testIdentity() *identity {
	return &identity{
		vips:       map[netip.Addr]bool{vip4: true, vip6: true},
		clusterMAC: cluster,
		sourceMAC:  member,
		nicMAC:     nic,
	}
}

func askARP(mac net.HardwareAddr, from, target netip.Addr) []byte {
	return must(arpFrame(broadcast(), mac, arp.OperationRequest, mac, from, noMAC, target))
}

func askNDP(mac net.HardwareAddr, from, target netip.Addr) []byte {
	return solicit(groupMAC(solicitedNode(target)), mac, from, solicitedNode(target), target, mac)
}

// solicit builds a solicitation; option nil leaves out the source link-layer
// address.
func solicit(dst, src net.HardwareAddr, from, to, target netip.Addr, option net.HardwareAddr) []byte {
	m := &ndp.NeighborSolicitation{TargetAddress: target}
	if option != nil {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: option}}
	}
	return must(ndpFrame(dst, src, from, to, m))
}

func advert(src net.HardwareAddr, target netip.Addr, option net.HardwareAddr) []byte {
	m := &ndp.NeighborAdvertisement{Override: true, TargetAddress: target}
	if option != nil {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: option}}
	}
	return must(ndpFrame(groupMAC(allNodes()), src, target, allNodes(), m))
}

func patch(frame []byte, off int, b ...byte) []byte {
	frame = slices.Clone(frame)
	copy(frame[off:], b)
	return frame
}

func TestAnswerReasons(t *testing.T) {
	v6any, v4any := netip.IPv6Unspecified(), netip.IPv4Unspecified()
	snGroup := solicitedNode(vip6)
	snMAC := groupMAC(snGroup)
	ask4, ask6 := askARP(client, clientIP4, vip4), askNDP(client, clientIP6, vip6)
	reply := func(sender net.HardwareAddr, dst net.HardwareAddr) []byte {
		return must(arpFrame(dst, other, arp.OperationReply, sender, vip4, client, clientIP4))
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"ARP request", ask4, Answered},
		{"ARP request to the cluster MAC", patch(ask4, 0, cluster...), Answered},
		{"ARP request to the own MAC", patch(ask4, 0, nic...), Answered},
		{"ARP request to a third host, seen in promiscuous mode", patch(ask4, 0, other...), Ignored},
		{"ARP probe", askARP(client, v4any, vip4), Answered},
		{"ARP request for another address", askARP(client, clientIP4, dedicated), Ignored},
		{"ARP of another protocol", patch(ask4, 16, 0x86, 0xdd), Ignored},
		{"ARP with sizes 6 and 16", patch(ask4, 18, 6, 16), Malformed},
		{"ARP cut off", ask4[:41], Malformed},
		{"RARP operation", patch(ask4, 20, 0, 3), Ignored},
		{"ARP from a group address", patch(ask4, 6, 3, 0, 0, 0, 0, 1), Malformed},
		{"gratuitous ARP of the cluster", must(testIdentity().announce(vip4))[0], OwnClaim},
		{"gratuitous ARP reply of the cluster", must(testIdentity().announce(vip4))[1], OwnClaim},
		{"gratuitous ARP of another host", askARP(other, vip4, vip4), Conflict},
		{"ARP request from a VIP with a wrong MAC", askARP(other, vip4, clientIP4), Conflict},
		{"ARP reply of another host", reply(other, client), Conflict},
		{"ARP reply of a member", reply(cluster, client), OwnClaim},
		{"ARP reply sent from the cluster MAC", patch(reply(cluster, client), 6, cluster...), Conflict},
		{"ARP reply to a VIP", must(arpFrame(cluster, client, arp.OperationReply, client, clientIP4, cluster, vip4)), Ignored},

		{"solicitation", ask6, Answered},
		{"unicast solicitation without option", solicit(cluster, client, clientIP6, vip6, vip6, nil), Answered},
		{"duplicate address detection", solicit(snMAC, client, v6any, snGroup, vip6, nil), Answered},
		{"duplicate address detection with option", solicit(snMAC, client, v6any, snGroup, vip6, client), Malformed},
		{"duplicate address detection by unicast", solicit(cluster, client, v6any, vip6, vip6, nil), Malformed},
		{"solicitation for another address in the same group", askNDP(client, clientIP6, netip.MustParseAddr("2001:db8:1::10")), Ignored},
		{"solicitation from beyond a router", patch(ask6, 21, 254), Malformed},
		{"solicitation with a wrong checksum", patch(ask6, 56, 0xff, 0xff), Malformed},
		{"solicitation with code 1", patch(ask6, 55, 1), Malformed},
		{"solicitation longer than the frame", patch(ask6, 18, 0, 200), Malformed},
		{"solicitation without target", patch(ask6, 18, 0, 20), Malformed},
		{"option of no length", patch(ask6, 79, 0), Malformed},
		{"echo request", patch(ask6, 54, 128), Ignored},
		{"TCP", patch(ask6, 20, 6), Ignored},
		{"advertisement of the cluster", advert(member, vip6, cluster), OwnClaim},
		{"advertisement of another host", advert(other, vip6, other), Conflict},
		{"advertisement without option", advert(other, vip6, nil), Conflict},
		{"advertisement sent from the cluster MAC", advert(cluster, vip6, cluster), Conflict},
		{"advertisement for another address", advert(other, clientIP6, other), Ignored},
		{"solicitation from a VIP with a wrong MAC", askNDP(other, vip6, clientIP6), Conflict},

		{"no frame", nil, Malformed},
		{"IPv6 header cut off", ask6[:etherLen+30], Malformed},
		{"IPv6 header alone", ask6[:etherLen+ipv6Len], Ignored},
		{"IPv4", patch(ask4, 12, 8, 0), Ignored},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := testIdentity().answer(tt.frame, true)
			if got.reason != tt.want {
				t.Fatalf("reason %s, want %s", got.reason, tt.want)
			}
			if (got.reply != nil) != (tt.want == Answered) {
				t.Errorf("reason %s, reply %x", got.reason, got.reply)
			}
			if got.reason == Conflict && (got.mac == nil || !testIdentity().vips[got.vip]) {
				t.Errorf("conflict about %s with %s", got.vip, got.mac)
			}
			standby := testIdentity().answer(tt.frame, false)
			if standby.reply != nil {
				t.Error("an inactive member answers")
			}
			if tt.want == Answered && standby.reason != Standby {
				t.Errorf("inactive: reason %s, want %s", standby.reason, Standby)
			}
		})
	}
}

func TestReplies(t *testing.T) {
	group := net.HardwareAddr{3, 0xbf, 10, 0, 0, 1} // cluster MAC of a cluster in multicast mode
	fromCluster := must(arpFrame(broadcast(), other, arp.OperationRequest, group, clientIP4, noMAC, vip4))
	snGroup := solicitedNode(vip6)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  []byte
	}{
		{"ARP", askARP(client, clientIP4, vip4),
			must(arpFrame(client, member, arp.OperationReply, cluster, vip4, client, clientIP4))},
		{"ARP asked with a group MAC", fromCluster,
			must(arpFrame(other, member, arp.OperationReply, cluster, vip4, other, clientIP4))},
		{"solicitation", askNDP(client, clientIP6, vip6),
			must(ndpFrame(client, member, vip6, clientIP6, &ndp.NeighborAdvertisement{Solicited: true, Override: true, TargetAddress: vip6,
				Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: cluster}}}))},
		{"duplicate address detection", solicit(groupMAC(snGroup), client, netip.IPv6Unspecified(), snGroup, vip6, nil),
			must(ndpFrame(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, member, vip6, netip.MustParseAddr("ff02::1"), &ndp.NeighborAdvertisement{Override: true, TargetAddress: vip6,
				Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: cluster}}}))},
	} {
		got := testIdentity().answer(tt.frame, true)
		if !bytes.Equal(got.reply, tt.want) {
			t.Errorf("%s: reply\n%x, want\n%x", tt.name, got.reply, tt.want)
		}
	}
}

// Whatever arrives, the handler does not panic, answers only what it was asked,
// never sends from the cluster MAC, and says the cluster MAC in each answer.
func FuzzAnswer(f *testing.F) {
	f.Add(askARP(client, clientIP4, vip4))
	f.Add(askARP(other, vip4, vip4))
	f.Add(askNDP(client, clientIP6, vip6))
	f.Add(advert(other, vip6, other))
	f.Add(solicit(groupMAC(solicitedNode(vip6)), client, netip.IPv6Unspecified(), solicitedNode(vip6), vip6, nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got := testIdentity().answer(frame, true)
		if got.reason >= NumReasons || (got.reply != nil) != (got.reason == Answered) {
			t.Fatalf("reason %s, reply %x", got.reason, got.reply)
		}
		if got.reply == nil {
			return
		}
		if !bytes.Equal(got.reply[6:12], member) {
			t.Fatalf("reply from %x", got.reply[6:12])
		}
		n, err := parseNeighbor(got.reply)
		if err != nil || n.query || n.owner != got.vip || !bytes.Equal(n.ownerMAC, cluster) {
			t.Fatalf("reply %x reads %+v, %v", got.reply, n, err)
		}
	})
}
