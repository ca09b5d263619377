package acceptance

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// afpacket are the options of a lab without eBPF.
func afpacket() lab.Options { return lab.Options{Dataplane: "afpacket", Clients: 300} }

// TestModesAFPacket is TestModes with the data plane in user space.
func TestModesAFPacket(t *testing.T) {
	beside(t)
	for mode, clients := range map[string]int{"unicast": trials(300, 600), "multicast": 60, "igmp": 60} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, lab.Options{Mode: mode, Dataplane: "afpacket", Clients: clients, IPv6: true})
			capture, err := c.Switch.Capture(c.ctx, filepath.Join(c.Dir, "all.pcap"), "")
			c.ok(err)
			c.spread(c.Client.Addrs, web)
			c.spread(c.Client.Addrs6[:60], netip.AddrPortFrom(lab.VIP6, 80))
			c.pingOnce()
			c.arpOnce(mode)
			c.switchLearned()
			c.ok(capture.Stop())
			c.manufacturers(capture.File, mode)
			if got := c.status().Dataplane.Kind; got != "afpacket" {
				t.Errorf("data plane is %s", got)
			}
		})
	}
}

// TestCrashAFPacket: whoever dies is silent at once, his clients meet others soon, and
// nobody else's notice. When all are dead, no kernel answers for a VIP by itself.
func TestCrashAFPacket(t *testing.T) {
	c := start(t, afpacket())
	for i := range trials(2, 20) {
		victim := c.Members[i%len(c.Members)]
		silences, stall := c.crash(killed, 2500*time.Millisecond, victim)
		t.Logf("silence %s", silences[0])
		if silences[0] > 2*time.Second+stall {
			t.Errorf("the clients of %s met %s of silence", victim.Name, silences[0])
		}
		c.ok(victim.Start())
		c.converged(len(c.Members))
	}
	for _, m := range c.Members {
		c.ok(m.Kill())
	}
	for _, src := range c.Client.Addrs[:20] {
		ctx, cancel := context.WithTimeout(c.ctx, 100*time.Millisecond)
		if name, err := c.Client.Ask(ctx, src, web); err == nil {
			t.Errorf("%s answers %s though its nlbd is dead", name, src)
		}
		cancel()
	}
	if n, _ := c.Client.Ping(c.ctx, c.Client.Addrs[0], lab.VIP, 2); n != 0 {
		t.Errorf("%d answers to 2 pings, though every nlbd is dead", n)
	}
	if out, _ := c.Client.Run(c.ctx, "arping", "-b", "-c", "2", "-w", "2", "-I", "eth0", lab.VIP.String()); strings.Contains(out, "reply from") {
		t.Errorf("somebody answers ARP though every nlbd is dead:\n%s", out)
	}
	for _, m := range c.Members {
		if n, err := c.Client.Ping(c.ctx, c.Client.Addrs[0], m.Addr, 1); n != 1 {
			t.Errorf("%s does not answer at its own address: %v", m.Name, err)
		}
	}
	c.ok(c.Start())
	c.converged(len(c.Members))
	c.owners(c.Client.Addrs[:30])
}

// TestCleanupAFPacket: an orderly stop, and --cleanup after a death, leave the host as
// it was.
func TestCleanupAFPacket(t *testing.T) {
	c := start(t, lab.Options{Dataplane: "afpacket", Clients: 30, Members: 2, IPv6: true})
	m := c.Members[1]
	c.ok(m.Stop())
	stopped := c.hostState(m.Host)
	ruleset := func() string {
		out, err := m.Run(c.ctx, "nft", "list", "ruleset")
		c.ok(err)
		return out
	}
	if out := ruleset(); out != "" {
		t.Errorf("an orderly stop leaves\n%s", out)
	}
	c.ok(m.Start())
	c.converged(2)
	c.ok(m.Kill())
	if out := ruleset(); !strings.Contains(out, lab.VIP.String()) {
		t.Errorf("no rule keeps the VIP from the kernel of a dead member:\n%s", out)
	}
	config, err := m.WriteConfig()
	c.ok(err)
	_, err = m.Run(c.ctx, nlbd, "--cleanup", "--config", config)
	c.ok(err)
	if out := ruleset(); out != "" {
		t.Errorf("--cleanup leaves\n%s", out)
	}
	for _, change := range changes(stopped, c.hostState(m.Host)) {
		if !strings.HasSuffix(change, ".sock") { // which the next start replaces
			t.Errorf("--cleanup leaves: %s", change)
		}
	}
}

// TestFreezeAFPacket: a member that stands still is silent, and stays so on waking, when
// it finds a ring full of frames that others have answered.
func TestFreezeAFPacket(t *testing.T) {
	c := start(t, afpacket())
	for i := range trials(2, 10) {
		frozen := c.Members[i%len(c.Members)]
		probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:90])), Every: 5 * time.Millisecond})
		c.sleep(200 * time.Millisecond)
		at := probe.Since()
		c.ok(frozen.Freeze())
		c.sleep(2 * time.Second)
		thawed := probe.Since()
		c.ok(frozen.Thaw())
		c.converged(len(c.Members))
		reports := probe.Stop()
		last, others := at, time.Duration(0)
		for _, a := range reports[frozen.Name].Attempts {
			switch {
			case a.Err != nil || a.At < at || a.At > thawed:
			case a.Member == frozen.Name:
				last = max(last, a.At)
			case others == 0:
				others = a.At
			}
		}
		t.Logf("%s froze: last own answer after %s, first answer of another after %s", frozen.Name, last-at, others-at)
		if others == 0 || last > others {
			t.Errorf("%s answered until %s, the first other from %s on", frozen.Name, last-at, others-at)
		}
	}
}

// TestPlannedAFPacket holds sessions over a join and a drain: residual and foreign-held
// buckets ask the socket table per segment.
func TestPlannedAFPacket(t *testing.T) {
	c := start(t, afpacket())
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	leaver, drained := c.Members[2], c.Members[1]
	c.ok(leaver.Stop())
	c.converged(2)
	sessions := c.hold(c.Client.Addrs[:100], echo)
	c.ok(leaver.Start())
	c.converged(3)
	c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{drained.Name}})
	c.waitState(drained.Name, "draining")
	c.sleep(2 * time.Second)
	c.waitState(drained.Name, "draining") // as long as it has sessions
	if n := sessions.endAt(drained.Name); n == 0 {
		t.Error("the drained member had no session: nothing was shown")
	}
	c.waitState(drained.Name, "stopped")
	sessions.stop()
	asked := uint64(0)
	for _, m := range c.Members {
		counters, err := m.Counters(c.ctx)
		c.ok(err)
		for _, n := range counters {
			if n.Reason == "residual" || n.Reason == "established" {
				asked += n.Packets
			}
		}
	}
	if asked == 0 {
		t.Error("no segment was accepted for its socket: nothing was shown")
	}
}

// TestLargeAFPacket sends what the network card has not cut or checksummed yet, and what
// comes in fragments.
func TestLargeAFPacket(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Dataplane: "afpacket", Clients: 30, IPv6: true})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	for i, target := range []netip.AddrPort{echo, netip.AddrPortFrom(lab.VIP6, 7)} {
		src := [][]netip.Addr{c.Client.Addrs, c.Client.Addrs6}[i]
		c.echoLarge(src[0], target)
		for _, a := range src[:10] {
			err := c.fair(func() error {
				_, err := c.Client.Run(c.ctx, "ping", "-c", "2", "-i", "0.01", "-W", "1", "-s", "6000", "-I", a.String(), target.Addr().String())
				return err
			})
			if err != nil {
				t.Errorf("ping with 6000 bytes from %s: %v", a, err)
			}
		}
	}
}

// echoLarge sends long lines to the echo service and wants them back.
func (c *cluster) echoLarge(src netip.Addr, target netip.AddrPort) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	conn, err := c.Client.DialFrom(ctx, src, target)
	c.ok(err)
	defer conn.Close()
	c.ok(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	const lines = 200
	line := func(i int) string { return strings.Repeat(fmt.Sprintf("%06d", i), 10_000) }
	go func() {
		for i := range lines {
			fmt.Fprintln(conn, line(i)) // an error shows in what comes back
		}
	}()
	answers := bufio.NewScanner(conn)
	answers.Buffer(nil, 1<<17)
	for i := range lines {
		if !answers.Scan() {
			c.t.Fatalf("%s: line %d does not come back: %v", target, i, answers.Err())
		}
		if _, got, _ := strings.Cut(answers.Text(), ": "); got != line(i) {
			c.t.Fatalf("%s: line %d comes back changed", target, i)
		}
	}
}

// TestAutoWithoutEBPF: where a member may not load programs, auto falls back and says
// why. After a death either data plane takes over from the other.
func TestAutoWithoutEBPF(t *testing.T) {
	dir := t.TempDir()
	denied := filepath.Join(dir, "denied")
	script := fmt.Sprintf("#!/bin/sh\n[ -e %s ] || exec %s \"$@\"\nexec setpriv --bounding-set=-sys_admin,-bpf,-perfmon --inh-caps=-sys_admin,-bpf,-perfmon %[2]s \"$@\"\n", denied, nlbd)
	wrapper := filepath.Join(dir, "nlbd")
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(denied, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	with := nlbd
	nlbd = wrapper
	t.Cleanup(func() { nlbd = with })
	c := start(t, lab.Options{Clients: 60, Members: 2})
	c.kind("afpacket")
	c.owners(c.Client.Addrs)
	if log := c.Members[0].Log(20); !strings.Contains(log, "for want of eBPF") {
		t.Errorf("does not say why:\n%s", log)
	}
	again := func(kinds ...string) {
		for _, m := range c.Members {
			c.ok(m.Kill())
			c.ok(m.Start())
		}
		c.converged(2)
		c.kind(kinds...)
		c.owners(c.Client.Addrs)
	}
	c.ok(os.Remove(denied))
	again("xdp", "tc")
	for _, m := range c.Members {
		m.Config["dataplane"] = "afpacket"
	}
	again("afpacket")
}

func (c *cluster) kind(want ...string) {
	c.t.Helper()
	if got := c.status().Dataplane.Kind; !strings.Contains(strings.Join(want, " "), got) {
		c.t.Errorf("data plane is %s, want %v", got, want)
	}
}

// TestCompareAFPacket measures both data planes in one run: how long a request and a
// round trip on an open connection take, and how fast bytes go up.
func TestCompareAFPacket(t *testing.T) {
	beside(t)
	for i := range trials(2, 6) {
		dataplane := []string{"tc", "afpacket"}[i%2]
		c := start(t, lab.Options{Dataplane: dataplane, Clients: 60})
		for _, m := range c.Members {
			c.ok(m.StartEcho(7))
		}
		requests := c.times(trials(300, 3000), func(i int) {
			_, err := c.Client.Ask(c.ctx, c.Client.Addrs[i%60], web)
			c.ok(err)
		})
		conn, err := c.Client.DialFrom(c.ctx, c.Client.Addrs[0], echo)
		c.ok(err)
		answers := bufio.NewScanner(conn)
		trips := c.times(trials(1000, 10000), func(int) {
			fmt.Fprintln(conn, "x")
			if !answers.Scan() {
				t.Fatal(answers.Err())
			}
		})
		conn.Close()
		uploads := c.times(3, func(i int) { c.echoLarge(c.Client.Addrs[i], echo) })
		t.Logf("%-8s request %s (99%%: %s), round trip %s (99%%: %s), 12 MB there and back %s", dataplane,
			requests[len(requests)/2], requests[len(requests)*99/100], trips[len(trips)/2], trips[len(trips)*99/100], uploads[1])
		c.ok(c.Stop(c.ctx))
	}
}

// times does something n times and returns how long each took, sorted.
func (c *cluster) times(n int, do func(int)) []time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		do(i)
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took
}
