package acceptance

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// garbage makes frames that no sane host sends.
type garbage struct {
	rng    *rand.Rand
	policy *portrules.Policy
	src    net.HardwareAddr
	dst    []net.HardwareAddr // the cluster MAC first
}

func (c *cluster) garbage(seed uint64) *garbage {
	c.t.Helper()
	mac, err := net.ParseMAC(c.status().ClusterMAC)
	c.ok(err)
	g := &garbage{
		rng: rand.New(rand.NewPCG(seed, 0)),
		policy: &portrules.Policy{VIPs: []netip.Addr{lab.VIP, lab.VIP6}, Rules: []portrules.Rule{
			{Name: "web", Protocol: portrules.TCP, First: 80, Last: 80},
			{Name: "echo", Protocol: portrules.Both, First: 7, Last: 7},
		}},
		src: c.Client.MAC,
		dst: []net.HardwareAddr{mac, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x01, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}},
	}
	for _, m := range c.Members {
		g.dst = append(g.dst, m.MAC)
	}
	return g
}

// frame is at least an Ethernet header, the least that a packet socket sends.
func (g *garbage) frame() []byte {
	for {
		if frame := g.any(); !spoofs(frame) {
			return frame
		}
	}
}

// spoofs reports whether a frame says where a dedicated IP is. That cuts a host off
// from its neighbours whether or not it runs nlbd: garbage it is not.
func spoofs(frame []byte) bool {
	p := portrules.Parse(frame)
	about := p.Src
	if p.Target.IsValid() {
		about = p.Target
	}
	segment := []netip.Prefix{netip.PrefixFrom(lab.VIP, 24), netip.PrefixFrom(lab.VIP6, 64)}
	return (p.Kind == portrules.ARP || p.Target.IsValid()) && about != lab.VIP && about != lab.VIP6 &&
		slices.ContainsFunc(segment, func(s netip.Prefix) bool { return s.Contains(about) })
}

func (g *garbage) any() []byte {
	var frame []byte
	to := 0 // the cluster
	switch g.rng.IntN(10) {
	default: // plausible at first sight, half of them damaged
		frame = frames.Random(g.rng, g.policy)
	case 0:
		frame, to = frames.Ethernet(g.etherType(), g.bytes(1480)), g.rng.IntN(len(g.dst))
	case 1: // a good beginning of IP
		frame = frames.Random(g.rng, g.policy)
		frame = append(frame[:min(len(frame), 14+g.rng.IntN(44))], g.bytes(100)...)
	case 2:
		frame, to = g.igmp(), g.rng.IntN(len(g.dst))
	case 3:
		frame, to = frames.Ethernet(portrules.EtherTypeARP, g.damage(frames.ARP(uint16(g.rng.IntN(30)), lab.VIP, lab.VIP))), g.rng.IntN(2)
	case 4:
		frame = frames.Ethernet(portrules.EtherTypeBeacon, append([]byte("NLB\x01"), g.bytes(60)...))
	}
	for len(frame) < 14 {
		frame = append(frame, 0)
	}
	copy(frame, g.dst[to])
	copy(frame[6:], g.src)
	return frame
}

func (g *garbage) etherType() uint16 {
	known := []uint16{portrules.EtherTypeIPv4, portrules.EtherTypeIPv6, portrules.EtherTypeARP, portrules.EtherTypeBeacon, 0x8100, 0x88a8, 0x8847, 60, 0}
	if i := g.rng.IntN(len(known) + 1); i < len(known) {
		return known[i]
	}
	return uint16(g.rng.Uint32())
}

// igmp is no query, which would make the switch stop flooding (see lab).
func (g *garbage) igmp() []byte {
	groups := []string{"224.0.0.1", "224.0.0.2", "224.0.0.22", "239.255.0.100"}
	message := append([]byte{[]byte{0x12, 0x16, 0x17, 0x22, 0xff}[g.rng.IntN(5)], 0}, g.bytes(40)...)
	group := netip.MustParseAddr(groups[g.rng.IntN(len(groups))])
	return frames.Frame(netip.MustParseAddr("10.77.0.250"), group, 2, message)
}

// damage cuts and overwrites.
func (g *garbage) damage(b []byte) []byte {
	for range g.rng.IntN(4) {
		b[g.rng.IntN(len(b))] = uint8(g.rng.Uint32())
	}
	if g.rng.IntN(3) == 0 {
		b = b[:g.rng.IntN(len(b))]
	}
	return b
}

func (g *garbage) bytes(most int) []byte {
	b := make([]byte, g.rng.IntN(most))
	for i := range b {
		b[i] = uint8(g.rng.Uint32())
	}
	return b
}

// datagram is what strangers send to the membership port: noise, the cluster's name
// and noise, or messages of memberlist (v0.7.0) without the key.
func (g *garbage) datagram(cluster string) []byte {
	label := append([]byte{244, uint8(len(cluster))}, cluster...) // label.go: hasLabelMsg
	switch g.rng.IntN(5) {
	case 0:
		return g.bytes(1400)
	case 1:
		return append(label[:g.rng.IntN(len(label))], g.bytes(4)...)
	case 2: // an encryption version, then no cipher text
		return append(append(label, uint8(g.rng.IntN(3))), g.bytes(1200)...)
	case 3: // a message type in plain text
		return append(append(label, uint8(g.rng.IntN(14))), g.bytes(300)...)
	}
	// net.go: encryptMsg with a length that lies
	return append(binary.BigEndian.AppendUint32(append(label, 10), g.rng.Uint32()), g.bytes(1000)...)
}
