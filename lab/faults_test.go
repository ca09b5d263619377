package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestRuleset(t *testing.T) {
	f := newFaults()
	f.loss["m2"] = 12.3
	f.loss["m3"] = 100
	f.severed[link{"m1", "m2"}] = true
	f.blocked[link{"m2", "m1"}] = true
	want := `flush chain bridge lab faults
add rule bridge lab faults iifname m1 oifname m2 drop
add rule bridge lab faults iifname m2 oifname m1 meta l4proto { tcp, udp } th dport 7946 drop
add rule bridge lab faults iifname m2 oifname m1 meta l4proto { tcp, udp } th sport 7946 drop
add rule bridge lab faults iifname m2 numgen random mod 1000 < 123 drop
add rule bridge lab faults oifname m2 numgen random mod 1000 < 123 drop
add rule bridge lab faults iifname m3 drop
add rule bridge lab faults oifname m3 drop
`
	if got := f.ruleset(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := newFaults().ruleset(); strings.Contains(got, "add") {
		t.Errorf("without faults: %s", got)
	}
}

// TestFaults asks the second member, from the client host and from the first
// member, under every fault and after it.
func TestFaults(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 1})
	ctx := short(t)
	one, two := l.Members[0], l.Members[1]
	reach := func(from *Host, src netip.Addr) bool {
		t.Helper()
		out, err := from.Run(ctx, "ping", "-n", "-c", "1", "-W", "0.1", "-I", src.String(), two.Addr.String())
		return err == nil && strings.Contains(out, "1 received")
	}
	expect := func(when string, fromClient, fromOne bool) {
		t.Helper()
		if got := reach(l.Client.Host, l.Client.Addrs[0]); got != fromClient {
			t.Errorf("%s: client reaches node2: %t, want %t", when, got, fromClient)
		}
		if got := reach(one.Host, one.Addr); got != fromOne {
			t.Errorf("%s: node1 reaches node2: %t, want %t", when, got, fromOne)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("at first", true, true)
	do(l.Switch.CutCable(ctx, two.Host))
	if out, err := two.Run(ctx, "ip", "-br", "link", "show", "eth0"); err != nil || !strings.Contains(out, "NO-CARRIER") {
		t.Errorf("carrier with a cut cable: %s, %v", out, err)
	}
	expect("cable cut", false, false)
	do(l.Switch.PlugCable(ctx, two.Host))
	if left := waitUntil(t, func() string {
		if reach(l.Client.Host, l.Client.Addrs[0]) {
			return ""
		}
		return "no answer"
	}); left != "" {
		t.Error("the plugged cable does not carry")
	}
	expect("cable plugged", true, true)
	do(l.Switch.SetLoss(ctx, two.Host, 100))
	if out, err := two.Run(ctx, "ip", "-br", "link", "show", "eth0"); err != nil || strings.Contains(out, "NO-CARRIER") {
		t.Errorf("no carrier with loss: %s, %v", out, err)
	}
	expect("all lost", false, false)
	do(l.Switch.SetLoss(ctx, two.Host, 0))
	expect("nothing lost", true, true)
	do(l.Switch.Sever(ctx, one.Host, two.Host))
	expect("severed from node1", true, false)
	do(l.Switch.Heal(ctx))
	expect("healed", true, true)
	do(l.Switch.Sever(ctx, two.Host, one.Host))
	expect("severed to node1", true, false)
	// The other way is open: a datagram from node1 arrives.
	inbox, err := two.ListenPacket("udp", "10.77.0.2:9")
	do(err)
	_, err = one.Run(ctx, "bash", "-c", "echo hello > /dev/udp/10.77.0.2/9")
	do(err)
	inbox.SetReadDeadline(time.Now().Add(time.Second))
	if n, _, err := inbox.ReadFrom(make([]byte, 64)); n != 6 {
		t.Errorf("severed to node1: node2 got %d bytes, %v", n, err)
	}
	do(l.Switch.Heal(ctx))
	do(l.Switch.Partition(ctx, []*Host{one.Host, l.Client.Host}, []*Host{two.Host}))
	expect("node2 by itself", false, false)
	do(l.Switch.Partition(ctx, []*Host{one.Host}, []*Host{two.Host, l.Client.Host}))
	expect("node1 by itself", true, false)
	do(l.Switch.Partition(ctx, []*Host{one.Host}, []*Host{two.Host}))
	expect("the client on no side", true, false)
	do(l.Switch.Heal(ctx))
	do(l.Switch.BlockMembership(ctx, one.Host, two.Host))
	expect("membership blocked", true, true)
	if err := l.Switch.SetLoss(ctx, two.Host, 101); err == nil {
		t.Error("loss of 101 percent taken")
	}
}

func TestBlockMembership(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 1})
	ctx := short(t)
	one, two := l.Members[0], l.Members[1]
	for _, m := range l.Members {
		if err := m.StartUDP(netip.AddrPortFrom(m.Addr, membershipPort)); err != nil {
			t.Fatal(err)
		}
	}
	hears := func() bool {
		c := &Client{Host: one.Host}
		ctx, cancel := withTimeout(ctx)
		defer cancel()
		_, err := c.AskUDP(ctx, netip.AddrPortFrom(one.Addr, 0), netip.AddrPortFrom(two.Addr, membershipPort))
		return err == nil
	}
	if !hears() {
		t.Error("no membership message passes the healthy switch")
	}
	for _, way := range [][2]*Host{{one.Host, two.Host}, {two.Host, one.Host}} {
		if err := l.Switch.BlockMembership(ctx, way[0], way[1]); err != nil {
			t.Fatal(err)
		}
		if hears() {
			t.Errorf("a membership message passes although %s to %s is blocked", way[0].Name, way[1].Name)
		}
		if err := l.Switch.Heal(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !hears() {
		t.Error("no membership message passes after Heal")
	}
}

// TestPartialLoss sends 200 pings through a switch that loses 30 percent each way:
// 98 answers are expected, with a deviation of 7.
func TestPartialLoss(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 1})
	ctx := short(t)
	m := l.Members[0]
	if _, err := l.Client.Ping(ctx, l.Client.Addrs[0], m.Addr, 1); err != nil { // ARP
		t.Fatal(err)
	}
	if err := l.Switch.SetLoss(ctx, m.Host, 30); err != nil {
		t.Fatal(err)
	}
	out, _ := l.Client.Run(ctx, "ping", "-n", "-q", "-c", "200", "-i", "0.002", "-W", "0.1", "-I", l.Client.Addrs[0].String(), m.Addr.String())
	var sent, received int
	for line := range strings.Lines(out) {
		if strings.Contains(line, "transmitted") {
			scan(line, &sent, &received)
		}
	}
	if sent != 200 || received < 60 || received > 136 {
		t.Errorf("%d of %d pings answered, want about 98 of 200", received, sent)
	}
}
