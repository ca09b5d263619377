package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/lab"
)

// TestFrames lets the cluster serve while the segment, the membership port and the
// control socket are full of garbage. Everything that cannot be understood is
// dropped and counted, and nobody notices.
func TestFrames(t *testing.T) {
	beside(t)
	for _, row := range []struct {
		mode, dataplane string
		frames          int
	}{{"unicast", "xdp", 20_000}, {"igmp", "tc", 8_000}} {
		t.Run(row.mode+"/"+row.dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Mode: row.mode, Dataplane: row.dataplane, Clients: 60, IPv6: true})
			for _, m := range c.Members {
				// So that whatever is answered comes back to the client host.
				c.sh(m.Host, "ip route add default via 10.77.0.250; ip route add default via fd77::fa")
			}
			before := c.status()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			g := c.garbage(seed)

			probe := c.Client.StartProbe(lab.ProbeOptions{
				Target: web, Lanes: lanes(c.owners(c.Client.Addrs)), Every: 20 * time.Millisecond, Timeout: 1500 * time.Millisecond,
			})
			defer probe.Stop()
			c.garbageControl()
			c.garbageMembership(g)
			c.checkBalance()
			c.garbageFrames(g, row.frames)
			c.answeredAll(probe.Stop())
			c.excused = c.quietBalance() // of damaged frames the switch counts others than the members do
			c.exactlyOne()
			c.unimpressed(before.Epoch)
		})
	}
}

// garbageFrames sends n frames to the members.
func (c *cluster) garbageFrames(g *garbage, n int) {
	c.t.Helper()
	counted := c.counters()
	w := c.watch()
	conn := c.packetSocket(0)
	began := time.Now()
	refused := 0
	for i := range n {
		if i%40 == 39 {
			c.sleep(4 * time.Millisecond) // bounded: the cluster must be able to hear its clients
		}
		frame := g.frame()
		_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EMSGSIZE):
			refused++ // by the client's kernel
		default:
			c.ok(err)
		}
	}
	c.sleep(100 * time.Millisecond)
	flows, twice := w.stop()
	c.t.Logf("%d frames in %s, %d not sent; answers to %d TCP, %d UDP flows, %d pings, %d questions for a VIP's MAC",
		n, time.Since(began).Round(time.Millisecond), refused, flows[6], flows[17], flows[1]+flows[58], flows[0])
	if refused > n/10 {
		c.t.Errorf("%d of %d frames were not sent", refused, n)
	}
	for protocol, least := range map[uint8]int{6: n / 50, 17: n / 1000, 0: 2} {
		if flows[protocol] < least {
			c.t.Errorf("only %d answers of protocol %d: too few to prove anything", flows[protocol], protocol)
		}
	}
	for _, line := range twice {
		c.t.Errorf("two members answered: %s", line)
	}
	for member, after := range c.counters() {
		grown := make([]string, 0, 4)
		for _, reason := range []string{"malformed", "not-owner", "neighbor", "stray-fragment"} {
			if after[reason] <= counted[member][reason] {
				c.t.Errorf("%s dropped nothing as %s", member, reason)
			}
			grown = append(grown, fmt.Sprintf("%d %s", after[reason]-counted[member][reason], reason))
		}
		c.t.Logf("%s dropped %s", member, strings.Join(grown, ", "))
	}
}

// exactlyOne checks, over everything since the cluster began, that each packet whose
// owner a table names was accepted by one member and dropped by all others.
func (c *cluster) exactlyOne() {
	c.t.Helper()
	c.sleep(200 * time.Millisecond)
	var accepted, dropped uint64
	for _, by := range c.counters() {
		for _, reason := range []string{"new", "owner", "established", "residual", "default-host"} {
			accepted += by[reason]
		}
		dropped += by["not-owner"] + by["not-default"]
	}
	c.t.Logf("%d packets accepted, %d dropped by the other %d", accepted, dropped, len(c.Members)-1)
	due := accepted * uint64(len(c.Members)-1)
	if off := max(due, dropped) - min(due, dropped); off > due/200 { // a full queue may have lost one
		c.t.Errorf("%d packets were accepted, so %d drops by the others are due, not %d", accepted, due, dropped)
	}
}

// counters adds up each member's packets by reason.
func (c *cluster) counters() map[string]map[string]uint64 {
	c.t.Helper()
	sum := make(map[string]map[string]uint64)
	for _, m := range c.Members {
		counters, err := m.Counters(c.ctx)
		c.ok(err)
		sum[m.Name] = make(map[string]uint64)
		for _, counter := range counters {
			sum[m.Name][counter.Reason] += counter.Packets
		}
	}
	return sum
}

// garbageMembership talks nonsense to every member's membership port.
func (c *cluster) garbageMembership(g *garbage) {
	c.t.Helper()
	for _, m := range c.Members {
		port := netip.AddrPortFrom(m.Addr, 7946)
		var udp net.Conn
		c.ok(c.Client.NetNS().Do(func() (err error) {
			udp, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(port))
			return err
		}))
		for i := range 1000 {
			if i%50 == 49 {
				c.sleep(time.Millisecond)
			}
			_, err := udp.Write(g.datagram(c.Name))
			c.ok(err)
		}
		udp.Close()
		for i := range 80 { // more than it takes at one time
			conn, err := c.Client.DialFrom(c.ctx, c.Client.Addrs[0], port)
			c.ok(err)
			defer conn.Close() // at the end: until then they are open, and silent
			if i%4 > 0 {
				_, _ = conn.Write(g.datagram(c.Name)) // it may have hung up
			}
		}
	}
	c.counted("packets from holders of another cluster key")
}

// counted waits until every member warns of what it drops.
func (c *cluster) counted(warning string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	for _, m := range c.Members {
		for {
			s, err := m.Status(ctx)
			if err != nil {
				c.t.Fatalf("%s never warns of %s: %v", m.Name, warning, err)
			}
			if i := slices.IndexFunc(s.Warnings, func(w string) bool { return strings.Contains(w, warning) }); i >= 0 {
				c.t.Logf("%s: %s", m.Name, s.Warnings[i])
				break
			}
			c.sleep(20 * time.Millisecond)
		}
	}
}

// answeredAll checks that no request was lost, and none went astray.
func (c *cluster) answeredAll(reports map[string]lab.LaneReport) {
	c.t.Helper()
	total := 0
	for owner, r := range reports {
		total += len(r.Attempts)
		c.unbroken("clients of "+owner, r)
		if len(r.Answers()) != 1 || r.Answers()[owner] == 0 {
			c.t.Errorf("clients of %s have answers by %v", owner, r.Answers())
		}
	}
	c.t.Logf("%d requests meanwhile", total)
	if total < 100 {
		c.t.Errorf("only %d requests: nothing was shown", total)
	}
}

// unimpressed checks that nothing has happened to the cluster since this epoch.
func (c *cluster) unimpressed(epoch uint64) {
	c.t.Helper()
	c.converged(len(c.Members))
	if now := c.status().Epoch; now != epoch {
		c.judge(0)("epoch %d became %d: the cluster thought that somebody came or went", epoch, now)
	}
	for _, m := range c.Members {
		if m.Process().Crashed() {
			c.t.Errorf("%s died", m.Name)
		}
		log, err := os.ReadFile(m.LogPath())
		c.ok(err)
		if strings.Contains(string(log), "panic") {
			c.t.Errorf("%s panicked:\n%s", m.Name, m.Log(40))
		}
		if lines := strings.Count(string(log), "\n"); lines > 100 {
			c.t.Errorf("%s logged %d lines: garbage must not fill the disk:\n%s", m.Name, lines, m.Log(10))
		}
	}
}
