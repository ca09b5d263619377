package acceptance

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// TestFragments sends datagrams of several fragments in any order: each is answered,
// once, by its owner.
func TestFragments(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"tc", "xdp"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 30, IPv6: true})
			for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {2, 1, 0}} {
				c.fragmented(c.Client.Addrs, lab.VIP, order)
				c.fragmented(c.Client.Addrs6, lab.VIP6, order)
			}
		})
	}
}

// fragmented sends a datagram from each client, in three fragments, in this order.
func (c *cluster) fragmented(clients []netip.Addr, vip netip.Addr, order []int) {
	c.t.Helper()
	const part = 1000 // bytes
	mac, err := net.ParseMAC(c.status().ClusterMAC)
	c.ok(err)
	wire := c.packetSocket(0)
	defer wire.Close()
	owners := make(map[string]int)
	for i, src := range clients {
		conn, err := c.Client.ListenPacket("udp", netip.AddrPortFrom(src, 0).String())
		c.ok(err)
		from := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		from = netip.AddrPortFrom(src, from.Port())
		datagram := frames.UDP(from, netip.AddrPortFrom(vip, 7), make([]byte, 2*part+500))
		id := uint32(order[0]<<12 | order[1]<<8 | i + 1)
		for _, n := range order {
			piece := datagram[n*part : min(len(datagram), (n+1)*part)]
			frame := fragmentFrame(src, vip, id, n*part, n < 2, piece)
			copy(frame, mac)
			copy(frame[6:], c.Client.MAC)
			_, err := wire.WriteTo(frame, &packet.Addr{HardwareAddr: mac})
			c.ok(err)
		}
		buf := make([]byte, 512)
		c.ok(conn.SetReadDeadline(time.Now().Add(time.Second)))
		size, _, err := conn.ReadFrom(buf)
		if err != nil {
			c.judge(0)("%s to %s, fragments %v: %v", src, vip, order, err)
			conn.Close()
			continue
		}
		owners[string(bytes.TrimSpace(buf[:size]))]++
		c.ok(conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
		if size, _, err := conn.ReadFrom(buf); err == nil {
			c.t.Errorf("%s to %s, fragments %v: a second answer, by %s", src, vip, order, buf[:size])
		}
		conn.Close()
	}
	if len(owners) != len(c.Members) {
		c.judge(0)("fragments %v to %s: answered by %v, not by all members", order, vip, owners)
	}
}

func fragmentFrame(src, dst netip.Addr, id uint32, offset int, more bool, payload []byte) []byte {
	if dst.Is4() {
		return frames.Ethernet(portrules.EtherTypeIPv4, frames.IPv4{Src: src, Dst: dst, Protocol: portrules.ProtoUDP,
			ID: uint16(id), Offset: offset, More: more, Payload: payload}.Bytes())
	}
	return frames.Ethernet(portrules.EtherTypeIPv6, frames.IPv6{Src: src, Dst: dst, Protocol: portrules.ProtoUDP,
		Extensions: []frames.Extension{frames.FragmentHeader(id, offset, more)}, Payload: slices.Clone(payload)}.Bytes())
}
