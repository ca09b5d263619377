package acceptance

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules/frames"
)

const shareRules = lab.DefaultRules + `
- {name: strided, protocol: tcp, ports: 9, affinity: single}
- {name: ports, protocol: tcp, ports: 10, affinity: none}
`

// TestShares lets frames of many regular clients pass through real kernels: each member accepts
// its share of them, of equal and of unequal weights. portrules.TestBalance has
// more sorts of clients, and 32 members.
func TestShares(t *testing.T) {
	beside(t)
	weights := []int{100, 50, 25, 80}
	for _, dataplane := range []string{"tc", "xdp", "afpacket"}[:trials(1, 3)] {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Members: 4, Clients: 4, IPv6: true, Rules: shareRules, Edit: func(m *lab.Member) {
				m.Config["member"].(map[string]any)["rules"] = map[string]any{"strided": map[string]any{"weight": weights[m.Priority-1]}}
			}})
			n := trials(20_000, 100_000)
			c.shares("strided", weights, n, func(i int) []byte { // every 256th address
				src := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0b000001+uint32(i)<<8)))
				return frames.TCPFrame(netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(lab.VIP, 9), frames.SYN)
			})
			c.shares("strided", weights, n, func(i int) []byte { // an address in each /64
				src := netip.AddrFrom16([16]byte{0x20, 1, 13, 0xb8, 0, byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
				return frames.TCPFrame(netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(lab.VIP6, 9), frames.SYN)
			})
			c.shares("ports", []int{50, 50, 50, 50}, n, func(i int) []byte { // one port after the other, of two addresses
				src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 0, 0, byte(1 + i/50_000)}), uint16(1024+i%50_000))
				return frames.TCPFrame(src, netip.AddrPortFrom(lab.VIP, 10), frames.SYN)
			})
		})
	}
}

// shares sends n clients' frames and compares what each member accepts with its weight: within 3 %,
// or where chance varies more, within 4 standard deviations of the binomial and a bucket.
func (c *cluster) shares(rule string, weights []int, n int, frame func(i int) []byte) {
	c.t.Helper()
	mac, err := net.ParseMAC(c.status().ClusterMAC)
	c.ok(err)
	conn := c.packetSocket(0)
	before := c.newBy(rule)
	began := time.Now()
	for i := range n {
		if i%50 == 49 {
			c.sleep(2 * time.Millisecond) // bounded, like any client's way
		}
		f := frame(i)
		copy(f, mac)
		copy(f[6:], c.Client.MAC)
		_, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: mac})
		c.ok(err)
	}
	took := time.Since(began)
	c.sleep(200 * time.Millisecond)
	sum, total := 0.0, 0.0
	for _, w := range weights {
		sum += float64(w)
	}
	accepted := c.newBy(rule)
	for i, m := range c.Members {
		share := float64(weights[i]) / sum
		want, got := share*float64(n), float64(accepted[m.Name]-before[m.Name])
		limit := max(0.03*want, 4*math.Sqrt(want*(1-share))+float64(n)/4096)
		if math.Abs(got-want) > limit {
			c.judge(0)("%s, rule %s: %s of weight %d accepted %.0f, want %.0f within %.0f", c.Name, rule, m.Name, weights[i], got, want, limit)
		}
		c.t.Logf("%s: weight %d, %.0f of %d accepted, %+.1f %% off its share", m.Name, weights[i], got, n, 100*(got/want-1))
		total += got
	}
	c.t.Logf("%d frames in %s", n, took.Round(time.Millisecond))
	if total > float64(n) {
		c.t.Errorf("%.0f frames of %d were accepted", total, n)
	}
	if total < 0.995*float64(n) { // a full queue may have lost some
		c.judge(0)("only %.0f frames of %d were accepted", total, n)
	}
}

// newBy is how many SYNs each member has accepted by a rule.
func (c *cluster) newBy(rule string) map[string]uint64 {
	c.t.Helper()
	by := make(map[string]uint64)
	for _, m := range c.Members {
		counters, err := m.Counters(c.ctx)
		c.ok(err)
		for _, counter := range counters {
			if counter.Rule == rule && counter.Reason == "new" {
				by[m.Name] += counter.Packets
			}
		}
	}
	return by
}
