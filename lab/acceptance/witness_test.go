package acceptance

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules"
)

// witness watches what reaches the client host and notes which MAC addresses
// answered each flow. One must have: an answer from a second is a second member's.
type witness struct {
	conn    *packet.Conn
	own     net.HardwareAddr // the client host's
	vips    []netip.Addr
	answers map[answered]map[[6]byte]int
	done    sync.WaitGroup
}

// answered is what one member alone may answer.
type answered struct {
	protocol uint8 // of IP; 0 for ARP and neighbour discovery
	flow     portrules.Flow
}

// watch begins to watch; call stop.
func (c *cluster) watch() *witness {
	c.t.Helper()
	const everything = 0x0003 // ETH_P_ALL
	w := &witness{conn: c.packetSocket(everything), own: c.Client.MAC, vips: []netip.Addr{lab.VIP, lab.VIP6}, answers: make(map[answered]map[[6]byte]int)}
	c.ok(w.conn.SetReadDeadline(time.Time{}))
	w.done.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := w.conn.ReadFrom(buf)
			if err != nil {
				return
			}
			w.note(buf[:n])
		}
	})
	return w
}

// packetSocket opens a raw packet socket on the client host's interface.
func (c *cluster) packetSocket(protocol int) *packet.Conn {
	c.t.Helper()
	var conn *packet.Conn
	c.ok(c.Client.NetNS().Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(eth0, packet.Raw, protocol, nil)
		return err
	}))
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// note takes one frame. The kernel's own error messages are left out: they belong
// to the flow that they quote.
func (w *witness) note(frame []byte) {
	if len(frame) < 14 || bytes.Equal(frame[6:12], w.own) {
		return // packet(7): a socket for all protocols sees what the host sends, too
	}
	p := portrules.Parse(frame)
	var key answered
	switch {
	case p.Kind == portrules.ARP && p.ARPReply:
		key.flow.Src = netip.AddrPortFrom(p.Src, 0)
	case p.Advert:
		key.flow.Src = netip.AddrPortFrom(p.Target, 0)
	case p.Kind == portrules.IP && !p.Malformed && (p.Protocol == portrules.ProtoTCP || p.Protocol == portrules.ProtoUDP || isEchoReply(frame, p)):
		key = answered{p.Protocol, p.Flow()}
	}
	if vip := key.flow.Src.Addr(); vip != w.vips[0] && vip != w.vips[1] {
		return
	}
	if w.answers[key] == nil {
		w.answers[key] = make(map[[6]byte]int)
	}
	w.answers[key][[6]byte(frame[6:])]++
}

// isEchoReply reports whether a packet without IP options is the answer to a ping.
func isEchoReply(frame []byte, p portrules.Packet) bool {
	kind, at := uint8(0), 14+20
	if p.Src.Is6() {
		kind, at = 129, 14+40
	}
	return (p.Protocol == 1 || p.Protocol == portrules.ProtoICMPv6) && len(frame) > at && frame[at] == kind
}

// stop ends the watch and returns how many flows were answered, by protocol, and
// those that were answered by several.
func (w *witness) stop() (flows map[uint8]int, twice []string) {
	w.conn.Close()
	w.done.Wait()
	flows = make(map[uint8]int)
	for key, by := range w.answers {
		flows[key.protocol]++
		if len(by) > 1 {
			var macs []string
			for mac, n := range by {
				macs = append(macs, fmt.Sprintf("%d by %s", n, net.HardwareAddr(mac[:])))
			}
			twice = append(twice, fmt.Sprintf("protocol %d, %s to %s: %s", key.protocol, key.flow.Src, key.flow.Dst, strings.Join(macs, ", ")))
		}
	}
	return flows, twice
}
