package ebpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Frames of which the driver leaves only the Ethernet header in the linear part
// are decided like others, however long their chain of headers.
func TestNonLinear(t *testing.T) {
	enterNamespace(t)
	for _, name := range []string{testInterface, testPeer} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetMTU(l, 12000)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w := newWire(t)
	e := openEngine(t, "tc", options{})
	serve(t, e, frames.Policy(own))
	if err := unix.SetsockoptInt(w.raw, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal(err)
	}

	payload := make([]byte, 6000) // shorter ones the packet socket makes linear
	datagram := frames.UDP(testClient, vipPort(probePort), payload)
	chain := frames.IPv6{Src: frames.Client6, Dst: frames.VIP6, Protocol: 17, Payload: datagram}
	for range 3 {
		chain.Extensions = append(chain.Extensions, frames.OptionsHeader(frames.Destination, 1024))
	}
	sent := frames.IPv6{Src: frames.VIP6, Dst: frames.Client6, Protocol: 17,
		Extensions: chain.Extensions, Payload: frames.UDP(vipPort(probePort), testClient, nil)}
	for name, frame := range map[string][]byte{
		"error quoting a long chain": append(frames.ErrorFrame(frames.Client6, frames.VIP6, 2, sent.Bytes()), payload...),
		"ipv4":                       frames.Frame(frames.Client, frames.VIP4, 17, datagram),
		"ipv6":                       frames.Frame(frames.Client6, frames.VIP6, 17, datagram),
		"ipv6 with long chain":       frames.Ethernet(portrules.EtherTypeIPv6, chain.Bytes()),
		"beacon":                     append(beacon(saying(1, withMe, 1)), payload...),
	} {
		before, want := counters(t, e), make(tally)
		pkt := portrules.Parse(frame)
		listener := portrules.Listener{Self: frames.Self, Key: frames.BeaconKey}
		want.add(frames.Policy(own), frames.Policy(own).Decide(&pkt, portrules.Env{
			Beacon: func(b [portrules.BeaconSize]byte) portrules.Reason { return listener.Hear(b, 7) },
		}))
		header := make([]byte, 10) // struct virtio_net_hdr
		header[2] = 14             // hdr_len: what becomes linear
		if err := unix.Sendto(w.raw, append(header, frame...), 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}); err != nil {
			t.Fatal(err)
		}
		if err := want.compare(before, counters(t, e)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// XDP drops what it can judge by the first buffer of a frame and leaves the rest
// to tc.
func TestXDPBuffers(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "xdp", options{})
	serve(t, e, frames.Policy(nil))
	udp := frames.UDP(testClient, vipPort(probePort), make([]byte, 5000))
	short := frames.Frame(frames.Client6, frames.VIP6, 17, udp)
	long := frames.Ethernet(portrules.EtherTypeIPv6, frames.IPv6{
		Src: frames.Client6, Dst: frames.VIP6, Protocol: 17, Payload: udp,
		Extensions: []frames.Extension{frames.OptionsHeader(frames.Destination, 512)},
	}.Bytes())
	mtu := frames.ErrorFrame(frames.Client6, frames.VIP6, 2, frames.Frame(frames.VIP6, frames.Client6, 17, udp)[14:])
	word := append(beacon(saying(1, withMe, 1)), make([]byte, 5000)...)
	type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }
	for _, tt := range []struct {
		frame  []byte
		linear uint32
		want   uint32
	}{
		{short, uint32(len(short)), xdpDrop},
		{short, 128, xdpDrop},
		{short, 60, xdpPass}, // not even the ports
		{long, 128, xdpPass},
		{long, 1024, xdpDrop},
		{mtu, 14 + 40 + 8 + 40 + 7, xdpPass}, // not even the ports of the flow
		{mtu, 14 + 40 + 8 + 40 + 8, xdpDrop},
		{word, 14, xdpPass},
		{word, 14 + 47, xdpPass}, // not even the tag
		{word, 14 + 48, xdpDrop},
	} {
		opts := ebpf.RunOptions{Data: tt.frame, Context: xdpMD{DataEnd: tt.linear}}
		code, err := e.objects.collection.Programs[xdp.name].Run(&opts)
		if err != nil {
			t.Fatal(err)
		}
		if code != tt.want {
			t.Errorf("frame of %d bytes, %d in the first buffer: %d, want %d", len(tt.frame), tt.linear, code, tt.want)
		}
	}
}
