package ebpf

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// What leaves is rewritten as docs/DECISION.md says, and nothing is dropped.
func TestEgress(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	install(t, e, frames.Policy(nil)) // no lease: egress does not depend on it

	client, client6 := netip.AddrPortFrom(frames.Client, 40000), netip.AddrPortFrom(frames.Client6, 40000)
	mapped := netip.AddrFrom16(frames.VIP4.As16())
	const source, payload = 6, 14 + 8
	for _, tt := range []struct {
		name    string
		frame   []byte
		source  bool // Ethernet source becomes the source MAC
		payload bool // ARP sender becomes the cluster MAC
	}{
		{name: "ipv4 from vip", frame: frames.TCPFrame(netip.AddrPortFrom(frames.VIP4, 80), client, frames.ACK), source: true},
		{name: "ipv6 from vip", frame: frames.TCPFrame(netip.AddrPortFrom(frames.VIP6b, 80), client6, frames.ACK), source: true},
		{name: "ipv4 from own address", frame: frames.TCPFrame(netip.AddrPortFrom(frames.Own4, 80), client, frames.ACK)},
		{name: "ipv6 from own address", frame: frames.TCPFrame(netip.AddrPortFrom(frames.Own6, 80), client6, frames.ACK)},
		{name: "ipv6 from mapped vip", frame: frames.Frame(mapped, frames.Client6, portrules.ProtoUDP, make([]byte, 8))},
		{name: "to vip", frame: frames.TCPFrame(client, netip.AddrPortFrom(frames.VIP4, 80), frames.ACK)},
		{name: "arp reply from vip", frame: frames.Ethernet(portrules.EtherTypeARP, frames.ARP(2, frames.VIP4, frames.Client)), source: true, payload: true},
		{name: "arp request from vip", frame: frames.Ethernet(portrules.EtherTypeARP, frames.ARP(1, frames.VIP4b, frames.Client)), source: true, payload: true},
		{name: "arp from own address", frame: frames.Ethernet(portrules.EtherTypeARP, frames.ARP(1, frames.Own4, frames.VIP4))},
		{name: "cluster mac", frame: fromClusterMAC(frames.TCPFrame(netip.AddrPortFrom(frames.Own4, 80), client, frames.ACK)), source: true},
		{name: "cluster mac, unknown protocol", frame: fromClusterMAC(frames.Ethernet(0x88cc, []byte{0, 0})), source: true},
		{name: "unknown protocol", frame: frames.Ethernet(0x88cc, []byte{0, 0})},
	} {
		want := bytes.Clone(tt.frame)
		if tt.source {
			copy(want[source:], testSourceMAC)
		}
		if tt.payload {
			copy(want[payload:], frames.ClusterMAC[:])
		}
		code, out, err := e.run(tcOut.name, tt.frame)
		if err != nil || code != tcNext || !bytes.Equal(out, want) {
			t.Errorf("%s: %d, %v\n%x, want\n%x", tt.name, int32(code), err, out, want)
		}
	}
}

func fromClusterMAC(frame []byte) []byte {
	copy(frame[6:], frames.ClusterMAC[:])
	return frame
}
