package l2

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
)

// pair is two members, of which the first is active, and a client on one bridge.
type pair struct {
	*segment
	hosts  [2]*host
	member [2]*Responder
	source [2]net.HardwareAddr
	client *host
}

// newPair starts members with the VIPs on their loopback interface and a filter
// that keeps ARP and neighbour discovery from their kernels, as the data plane
// does.
func newPair(t *testing.T, mode config.Mode) *pair {
	p := &pair{segment: newSegment(t)}
	for n := range p.hosts {
		h := p.host(n + 1)
		i := h.open()
		h.run("nft", "add table netdev t")
		h.run("nft", "add chain netdev t in { type filter hook ingress device eth0 priority 0; }")
		for _, rule := range []string{"arp daddr ip " + vip4.String(), "icmpv6 type nd-neighbor-solicit"} {
			if out, err := h.run("nft", "add rule netdev t in "+rule+" drop"); err != nil {
				t.Fatalf("nft: %v\n%s", err, out)
			}
		}
		mac := ClusterMAC(mode, vip4)
		for _, err := range []error{i.AddMAC(mac), i.AddVIP(vip4), i.AddVIP(vip6)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		p.hosts[n] = h
		p.source[n] = must(SourceMAC(mode, "auto", uint8(n+1), vip4, h.mac))
		p.member[n] = h.respond(ResponderConfig{VIPs: []netip.Addr{vip4, vip6}, ClusterMAC: mac, SourceMAC: p.source[n]})
	}
	p.member[0].SetActive(true)
	p.client = p.host(77)
	return p
}

// A Linux client resolves both VIPs to the cluster MAC, in all modes, from one
// answer of the active member. The bridge learns no cluster MAC.
func TestKernelClientResolves(t *testing.T) {
	for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPair(t, mode)
			mac := ClusterMAC(mode, vip4)
			for _, vip := range []netip.Addr{vip4, vip6} {
				heard := p.client.tap(neighborFilter([]netip.Addr{vip}))
				p.client.poke(vip)
				eventually(t, "client's entry for "+vip.String(), mac.String()+" REACHABLE", func() string { return p.client.neighbor(vip) })
				eventually(t, "frames that the standby member kept still on", "1", func() string {
					return fmt.Sprint(p.member[1].Frames()[Standby])
				})
				var answers int
				p.member[0].Announce(context.Background()) // comes last
				heard.await("announcement after the answer", func(frame []byte) bool {
					n := must(parseNeighbor(frame))
					if !bytes.Equal(n.etherSrc, p.source[0]) {
						t.Errorf("%s: frame from %s, want only %s", vip, n.etherSrc, p.source[0])
					}
					if isGroup(n.etherDst) {
						return true
					}
					answers++
					return false
				})
				if answers != 1 {
					t.Errorf("%s: the client heard %d answers, want 1", vip, answers)
				}
				p.client.ip("neigh", "flush", "all")
				p.member[1].reasons[Standby].Store(0)
			}
			if got := p.member[1].Frames()[Answered]; got != 0 {
				t.Errorf("the standby member answered %d times", got)
			}
			if fdb := sh(t, "bridge", "-n", p.sw, "fdb", "show"); strings.Contains(fdb, mac.String()) {
				t.Errorf("the bridge learned the cluster MAC:\n%s", fdb)
			}
		})
	}
}

// arping and ndisc6, which wait for more answers, count one.
func TestToolsCountOneAnswer(t *testing.T) {
	p := newPair(t, config.Unicast)
	out, err := p.client.run("arping", "-c", "1", "-I", "eth0", vip4.String())
	if err != nil || !strings.Contains(out, "Received 1 response(s)") || !strings.Contains(out, strings.ToUpper(cluster.String())) {
		t.Errorf("arping: %v\n%s", err, out)
	}
	out, err = p.client.run("ndisc6", "-m", "-r", "1", "-w", "200", vip6.String(), "eth0")
	if err != nil || strings.Count(out, "Target link-layer address: "+strings.ToUpper(cluster.String())) != 1 {
		t.Errorf("ndisc6: %v\n%s", err, out)
	}
}

func TestTakeover(t *testing.T) {
	p := newPair(t, config.Unicast)
	p.member[0].SetActive(false)
	if err := p.member[0].Announce(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.member[1].SetActive(true)
	wrong := other.String()
	for _, vip := range []netip.Addr{vip4, vip6} { // as if learned from a host that is gone
		p.client.ip("neigh", "replace", vip.String(), "lladdr", wrong, "dev", "eth0", "nud", "stale")
	}
	heard := p.client.tap(neighborFilter([]netip.Addr{vip4, vip6}))
	if err := p.member[1].Announce(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, vip := range []netip.Addr{vip4, vip6} {
		eventually(t, "client's entry for "+vip.String(), cluster.String()+" STALE", func() string { return p.client.neighbor(vip) })
		p.client.ip("neigh", "flush", "to", vip.String())
		p.client.poke(vip)
		eventually(t, "client's entry for "+vip.String(), cluster.String()+" REACHABLE", func() string { return p.client.neighbor(vip) })
	}
	if own := p.member[1].Frames()[OwnClaim]; own != 0 {
		t.Errorf("the member hears %d frames of its own", own)
	}
	for range 5 { // two announcements of vip4, one of vip6, an answer for each
		heard.await("the new member", func(frame []byte) bool {
			if n := must(parseNeighbor(frame)); !bytes.Equal(n.etherSrc, p.source[1]) {
				t.Errorf("frame from %s after the takeover", n.etherSrc)
			}
			return true
		})
	}
}

// The kernel's unreachability probes are unicast to the cluster MAC.
func TestUnicastProbesAreAnswered(t *testing.T) {
	p := newPair(t, config.Unicast)
	for _, vip := range []netip.Addr{vip4, vip6} {
		p.client.ip("neigh", "replace", vip.String(), "lladdr", cluster.String(), "dev", "eth0", "nud", "probe")
		eventually(t, "client's entry for "+vip.String(), cluster.String()+" REACHABLE", func() string { return p.client.neighbor(vip) })
	}
}

// A host that is given a VIP by mistake finds out before it uses it.
func TestDuplicateAddressDetectionIsAnswered(t *testing.T) {
	p := newPair(t, config.Unicast)
	out, err := p.client.run("arping", "-D", "-c", "1", "-w", "1", "-I", "eth0", vip4.String())
	if err == nil || !strings.Contains(out, "Received 1 response(s)") {
		t.Errorf("arping -D: %v\n%s", err, out)
	}
	if out, err := p.client.run("sysctl", "-q", "-w", "net.ipv6.conf.eth0.accept_dad=1"); err != nil {
		t.Fatalf("sysctl: %v\n%s", err, out)
	}
	p.client.ip("addr", "add", vip6.String()+"/64", "dev", "eth0")
	eventually(t, "duplicate address detection", "true", func() string {
		return fmt.Sprint(strings.Contains(p.client.ip("addr", "show", "dev", "eth0"), "dadfailed"))
	})
}

// Frames of another VLAN on the same interface are not ours. The kernel removes
// the tag before packet sockets see the frame.
func TestOtherVLANsAreIgnored(t *testing.T) {
	p := newPair(t, config.Unicast)
	tagged := func(vlan byte, frame []byte) []byte {
		return append(append(bytes.Clone(frame[:12]), 0x81, 0, 0, vlan), frame[12:]...)
	}
	ask := askARP(p.client.mac, clientIP4, vip4)
	heard := p.client.tap(neighborFilter([]netip.Addr{vip4}))
	p.client.send(tagged(5, ask), tagged(0, ask)) // VLAN 0 is priority only
	heard.await("answer in VLAN 0", func([]byte) bool { return true })
	if got := p.member[0].Frames()[Answered]; got != 1 {
		t.Errorf("answered %d of 1", got)
	}
}

func TestConflictIsReportedAndCorrected(t *testing.T) {
	s := newSegment(t)
	type claim struct {
		vip netip.Addr
		mac string
	}
	claims := make(chan claim, 16)
	h, foreign, c := s.host(1), s.host(9), s.host(77)
	r := h.respond(ResponderConfig{
		VIPs: []netip.Addr{vip4, vip6}, ClusterMAC: cluster, SourceMAC: member,
		OnConflict: func(vip netip.Addr, mac net.HardwareAddr) { claims <- claim{vip, mac.String()} },
	})
	r.SetActive(true)
	for _, vip := range []netip.Addr{vip4, vip6} {
		c.ip("neigh", "replace", vip.String(), "lladdr", cluster.String(), "dev", "eth0", "nud", "stale")
	}

	foreign.ip("addr", "add", vip4.String()+"/24", "dev", "eth0")
	foreign.run("arping", "-U", "-c", "1", "-w", "1", "-I", "eth0", vip4.String())
	foreign.run("sysctl", "-q", "-w", "net.ipv6.conf.eth0.ndisc_notify=1")
	foreign.ip("addr", "add", vip6.String()+"/64", "dev", "eth0", "nodad")
	foreign.ip("link", "set", "eth0", "address", other.String()) // the kernel announces vip6

	eventually(t, "conflicts counted", "true", func() string { return fmt.Sprint(r.Frames()[Conflict] >= 2) })
	for _, want := range []claim{{vip4, foreign.mac.String()}, {vip6, other.String()}} {
		select {
		case got := <-claims:
			if got != want {
				t.Errorf("conflict %v, want %v", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no conflict about %s reported", want.vip)
		}
		eventually(t, "client's entry for "+want.vip.String(), cluster.String()+" STALE", func() string { return c.neighbor(want.vip) })
	}
}

func TestConflictsAreReportedOnceInAWhile(t *testing.T) {
	var reports []netip.Addr
	now := time.Now()
	r := &Responder{
		conflict: func(vip netip.Addr, _ net.HardwareAddr) { reports = append(reports, vip) },
		now:      func() time.Time { return now },
		reported: map[netip.Addr]time.Time{},
	}
	r.id.Store(testIdentity())
	for range 3 {
		r.handle(askARP(other, vip4, vip4))
		r.handle(advert(other, vip6, other))
		now = now.Add(defendInterval / 2)
	}
	if want := []netip.Addr{vip4, vip6, vip4, vip6}; !slices.Equal(reports, want) {
		t.Errorf("reported %v, want %v", reports, want)
	}
}

func TestResponderOutlastsLinkDown(t *testing.T) {
	p := newPair(t, config.Unicast)
	p.hosts[0].ip("link", "set", "eth0", "down")
	p.hosts[0].ip("link", "set", "eth0", "up")
	p.client.poke(vip4)
	eventually(t, "client's entry", cluster.String()+" REACHABLE", func() string { return p.client.neighbor(vip4) })
}

// The interface is in the solicited-node group of the VIP, which is on the
// loopback interface, for as long as the Responder is open: in its filter and by
// MLD.
func TestSolicitedNodeGroup(t *testing.T) {
	s := newSegment(t)
	h := s.host(1)
	i := h.open()
	vip := netip.MustParseAddr("2001:db8::ab:cdef")
	group, mac := solicitedNode(vip), groupMAC(solicitedNode(vip))
	memberships := func() string {
		out := h.ip("maddr", "show", "dev", "eth0")
		return fmt.Sprint(strings.Contains(out, group.String()), strings.Contains(out, mac.String()))
	}
	h.do(func() error {
		r, err := OpenResponder(i, ResponderConfig{VIPs: []netip.Addr{vip, vip4}, ClusterMAC: cluster, SourceMAC: member})
		if err != nil {
			return err
		}
		if got := memberships(); got != "true true" {
			t.Errorf("open: membership and MAC filter: %s", got)
		}
		return r.Close()
	})
	if got := memberships(); got != "false false" {
		t.Errorf("closed: membership and MAC filter: %s", got)
	}
}

func TestProbe(t *testing.T) {
	s := newSegment(t)
	asker, foreign, own := s.host(1), s.host(9), s.host(2)
	i := asker.open()
	r := own.respond(ResponderConfig{VIPs: []netip.Addr{vip4, vip6}, ClusterMAC: cluster, SourceMAC: member})
	probe := func(ctx context.Context, vip netip.Addr) (out string) {
		asker.do(func() error {
			owner, found, err := Probe(ctx, i, vip, cluster, ProbeTiming{Probes: 2, Interval: 100 * time.Millisecond})
			out = fmt.Sprint(owner, found, err)
			return nil
		})
		return out
	}
	for _, vip := range []netip.Addr{vip4, vip6} {
		r.SetActive(false)
		if got := probe(t.Context(), vip); got != " false <nil>" {
			t.Errorf("%s, nobody there: %s", vip, got)
		}
		r.SetActive(true)
		if got := probe(t.Context(), vip); got != cluster.String()+" false <nil>" {
			t.Errorf("%s, the cluster there: %s", vip, got)
		}
		foreign.ip("addr", "add", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "eth0", "nodad")
		foreign.settle()
		if got := probe(t.Context(), vip); got != foreign.mac.String()+" true <nil>" {
			t.Errorf("%s, the cluster and a foreign host there: %s", vip, got)
		}
		r.SetActive(false)
		if got := probe(t.Context(), vip); got != foreign.mac.String()+" true <nil>" {
			t.Errorf("%s, a foreign host there: %s", vip, got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := probe(ended, vip4); !strings.Contains(got, "context canceled") {
		t.Errorf("probe after the end: %s", got)
	}
}

// Probes are no claims: members that start at once probe for the same VIP.
func TestProbesAreNoConflict(t *testing.T) {
	for _, vip := range []netip.Addr{vip4, vip6} {
		if got := testIdentity().answer(must(probeFrame(other, vip)), false).reason; got != Standby {
			t.Errorf("%s: a probe is taken for %s", vip, got)
		}
	}
}
