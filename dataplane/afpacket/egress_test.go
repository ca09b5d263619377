package afpacket

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// What leaves is rewritten as docs/DECISION.md says, and nothing is dropped.
func TestEgress(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t)
	enginetest.Must(t, e.Install(frames.Policy(nil), nil)) // no lease: egress does not depend on it
	out, peer := packetSocket(t, testInterface, 0), packetSocket(t, testPeer, unix.ETH_P_ALL)

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
		if _, err := unix.Write(out, tt.frame); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := receive(t, peer, want[:6]); !bytes.Equal(got, want) {
			t.Errorf("%s:\n%x, want\n%x", tt.name, got, want)
		}
	}
}

func fromClusterMAC(frame []byte) []byte {
	copy(frame[6:], frames.ClusterMAC[:])
	return frame
}

// packetSocket opens a packet socket that waits at most a second.
func packetSocket(t *testing.T, name string, protocol uint16) int {
	t.Helper()
	dev, err := findDevice(name)
	enginetest.Must(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	enginetest.Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	enginetest.Must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.index, Protocol: network}))
	enginetest.Must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	return fd
}

// receive returns the next frame with a destination, nil if there is none.
func receive(t *testing.T, fd int, destination []byte) []byte {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return nil
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && bytes.Equal(buf[:6], destination) {
			return buf[:n]
		}
	}
}
