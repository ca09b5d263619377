package ebpf

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The programs do with the shared vectors what docs/DECISION.md says.
func TestVectors(t *testing.T) {
	enterNamespace(t)
	enginetest.OwnEverything(t)
	e := openEngine(t, "auto", options{})
	var installed *portrules.Policy
	for _, v := range frames.Vectors() {
		if !testable(v.Frame) {
			continue
		}
		if v.Policy != installed {
			install(t, e, v.Policy)
			installed = v.Policy
		}
		testVector(t, e, v)
	}
}

func testVector(t *testing.T, e *Engine, v frames.Vector) {
	after := v.Listener()
	pkt := portrules.Parse(v.Frame)
	ref := v.Policy.Decide(&pkt, v.Env(after))
	lease := dataplane.Now().Add(longLease)
	if v.LeaseOver {
		lease = 0
	}
	if err := e.Renew(lease); err != nil {
		t.Fatal(err)
	}
	setFragments(t, e, nil)
	if v.Fragment != (portrules.FragmentKey{}) {
		setFragments(t, e, map[portrules.FragmentKey]bool{v.Fragment: !v.Refused})
	}
	setClients(t, e)
	if v.Known != nil {
		setClients(t, e, dataplane.Client{Key: ref.Client, Client: *v.Known})
	}
	defer provideSocket(t, v)()
	if v.NAT != (portrules.Flow{}) {
		defer enterEntry(t, v.NAT, entry{})()
	}

	d := portrules.Decision{Verdict: v.Verdict, Reason: v.Reason, Rule: v.Rule}
	setListener(t, e, v.Listener())
	before := counters(t, e)
	if err := e.runTC(v.Frame, v.Verdict); err != nil {
		t.Errorf("%s: %v", v.Name, err)
	}
	want := make(tally)
	if v.Verdict != portrules.Pass {
		want.add(v.Policy, d)
	}
	if err := want.compare(before, counters(t, e)); err != nil {
		t.Errorf("%s: tc %v", v.Name, err)
	}
	if got := listenerOf(t, e); got.Fence != after.Fence || got.Last != after.Last {
		t.Errorf("%s: tc leaves\n%+v, want\n%+v", v.Name, got, *after)
	}
	checkNoted(t, e, v, ref)
	if (v.Records || v.Refuses) && !hasFragment(e, pkt.Fragment.Key, v.Records) {
		t.Errorf("%s: fragment not recorded", v.Name)
	}

	setListener(t, e, v.Listener())
	before = counters(t, e)
	if err := e.runXDP(v.Frame, d); err != nil {
		t.Errorf("%s: %v", v.Name, err)
	}
	clear(want)
	if xdpDrops(d) {
		want.add(v.Policy, d)
	}
	if err := want.compare(before, counters(t, e)); err != nil {
		t.Errorf("%s: XDP %v", v.Name, err)
	}
	checkNoted(t, e, v, ref)
	if got := listenerOf(t, e); got.Fence != after.Fence || got.Last != after.Last {
		t.Errorf("%s: XDP leaves\n%+v, want\n%+v", v.Name, got, *after)
	}
}

// checkNoted checks what became of the client in the table.
func checkNoted(t *testing.T, e *Engine, v frames.Vector, ref portrules.Decision) {
	t.Helper()
	got := clientsOf(t, e)
	c, ok := got[ref.Client]
	switch {
	case ref.Note == portrules.NoteNothing && v.Known == nil:
		if len(got) != 0 {
			t.Errorf("%s: remembers %v", v.Name, got)
		}
		return
	case ref.Note == portrules.NoteNothing:
		if c.Mine != v.Known.Mine || c.Silent < v.Known.Silent {
			t.Errorf("%s: %+v, want it left as %+v", v.Name, c, *v.Known)
		}
		return
	}
	if !ok || len(got) != 1 || c.Mine != (ref.Note == portrules.NoteMine) || c.Silent > 2*time.Second {
		t.Errorf("%s: remembers %v, want note %d", v.Name, got, ref.Note)
	}
	pkt := portrules.Parse(v.Frame)
	if from := netip.AddrPortFrom(pkt.Src, pkt.SrcPort); v.Known == nil && c.Addr != from {
		t.Errorf("%s: remembers %s, want %s", v.Name, c.Addr, from)
	}
}

// provideSocket makes the socket of a vector, or where it must not find one, a
// listener that must not pass for one.
func provideSocket(t *testing.T, v frames.Vector) (end func()) {
	if v.Socket != (portrules.Flow{}) {
		end, ok := connect(t, v.Socket)
		if !ok {
			t.Fatalf("%s: cannot connect %v", v.Name, v.Socket)
		}
		return end
	}
	pkt := portrules.Parse(v.Frame)
	if pkt.Protocol != portrules.ProtoTCP || pkt.Malformed || pkt.Fragment.Later {
		return func() {}
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(pkt.Flow().Dst))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return func() { l.Close() }
}
