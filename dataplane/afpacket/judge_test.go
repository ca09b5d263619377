package afpacket

import (
	"bytes"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The judge does with the shared vectors what docs/DECISION.md says.
func TestVectors(t *testing.T) {
	for _, v := range frames.Vectors() {
		if v.NAT != (portrules.Flow{}) {
			continue // connections behind NAT are not followed here: Engine.FollowsNAT
		}
		j := newJudge(frames.Self, frames.BeaconKey, func(f portrules.Flow) bool { return f == v.Socket })
		j.listener = *v.Listener()
		j.install(v.Policy, nil, moment{})
		j.lease.Store(math.MaxInt64)
		if v.LeaseOver {
			j.lease.Store(0)
		}
		if v.Fragment != (portrules.FragmentKey{}) {
			j.fragments.note(v.Fragment, !v.Refused)
		}

		pkt := portrules.Parse(v.Frame)
		ref := v.Policy.Decide(&pkt, v.Env(v.Listener()))
		const now = dataplane.Instant(24 * time.Hour)
		if v.Known != nil {
			note := portrules.NoteOther
			if v.Known.Mine {
				note = portrules.NoteMine
			}
			j.clients.table.Note(note, ref.Client, netip.AddrPort{}, int64(now)-int64(v.Known.Silent))
		}
		d := j.decide(v.Frame, 0, now)
		if c, ok := j.clients.get(ref.Client, now); ref.Note != portrules.NoteNothing && (!ok || c.Silent != 0 || c.Mine != (ref.Note == portrules.NoteMine)) {
			t.Errorf("%s: client remembered as %+v", v.Name, c)
		}
		if d.Verdict != v.Verdict || d.Reason != v.Reason || d.Rule != v.Rule {
			t.Errorf("%s: got %v %v, rule %d; want %v %v, rule %d", v.Name, d.Verdict, d.Reason, d.Rule, v.Verdict, v.Reason, v.Rule)
		}
		if j.listener.Fence != v.FenceAfter {
			t.Errorf("%s: fence %d, want %d", v.Name, j.listener.Fence, v.FenceAfter)
		}
		if f := portrules.Parse(v.Frame).Fragment; f.First && (v.Records != j.fragments.wasAccepted(f.Key) || v.Refuses != j.fragments.wasRefused(f.Key)) {
			t.Errorf("%s: fragment recorded as accepted %t, want %t; as refused %t, want %t", v.Name,
				j.fragments.wasAccepted(f.Key), v.Records, j.fragments.wasRefused(f.Key), v.Refuses)
		}
		if got := len(j.beacons) == 1; got != (v.Reason == portrules.BeaconHeard) {
			t.Errorf("%s: told of a beacon: %t", v.Name, got)
		}
		checkCounted(t, v, j.counters.read())
	}
}

// checkCounted wants the vector's frame counted once, or not at all where it passes.
func checkCounted(t *testing.T, v frames.Vector, got []dataplane.Counter) {
	t.Helper()
	if v.Verdict == portrules.Pass {
		if len(got) != 0 {
			t.Errorf("%s: passes and is counted: %v", v.Name, got)
		}
		return
	}
	want := dataplane.Counter{Rule: v.Policy.RuleID(v.Rule), Reason: v.Reason, Packets: 1}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%s: counted %v, want %v", v.Name, got, want)
	}
}

// The judge and the bare portrules.Decide agree about random frames, with sockets,
// fragments and beacons in between.
func TestRandom(t *testing.T) {
	policies, perPolicy := 100, 3000
	if testing.Short() {
		policies = 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	ref := newReference()
	j := newJudge(frames.Self, frames.BeaconKey, ref.hasSocket)
	for n := range policies {
		p := frames.RandomPolicy(rng)
		p.Epoch = uint64(n+1)<<31 - 1 // above the fence that the one before left
		ref.policy, ref.leaseOver = p, n%10 == 9
		j.install(p, everyID(), moment{real: int64(n)})
		j.lease.Store(math.MaxInt64)
		if ref.leaseOver {
			j.lease.Store(0)
		}
		for range perPolicy {
			frame := frames.Random(rng, p)
			for _, frame := range followed(frame) {
				if got, want := j.decide(frame, int64(n), 1), ref.decide(frame); got != want {
					t.Fatalf("policy %d: got %+v, want %+v\n% x", n, got, want, frame)
				}
			}
		}
	}
	ref.compare(t, j)
	for reason := portrules.NotVIP; reason < portrules.NumReasons; reason++ {
		if ref.reasons[reason] < 20 && !testing.Short() {
			t.Errorf("%v only %d times", reason, ref.reasons[reason])
		}
	}
}

// everyID is a policy that is never in force. As the next one it keeps the counts of all.
func everyID() *portrules.Policy {
	p := &portrules.Policy{Rules: make([]portrules.Rule, portrules.NumRuleIDs)}
	for i := range p.Rules {
		p.Rules[i].ID = uint16(i)
	}
	return p
}

// followed returns the frame and, where it is the first fragment of an IPv4 datagram,
// a later one.
func followed(frame []byte) [][]byte {
	pkt := portrules.Parse(frame)
	if !pkt.Fragment.First || !pkt.Dst.Is4() {
		return [][]byte{frame}
	}
	later := bytes.Clone(frame)
	later[20], later[21] = 0, 9
	return [][]byte{frame, later}
}

// reference keeps for portrules.Decide the state that an engine keeps, in the plainest
// way there is.
type reference struct {
	policy    *portrules.Policy
	leaseOver bool
	listener  portrules.Listener
	fragments map[portrules.FragmentKey]bool // whether accepted
	reasons   map[portrules.Reason]uint64
	clients   portrules.Clients
}

func newReference() *reference {
	return &reference{
		listener:  portrules.Listener{Self: frames.Self, Key: frames.BeaconKey},
		fragments: make(map[portrules.FragmentKey]bool),
		reasons:   make(map[portrules.Reason]uint64),
	}
}

// hasSocket makes every other client a connected one.
func (r *reference) hasSocket(f portrules.Flow) bool { return f.Src.Port()%2 == 0 }

func (r *reference) decide(frame []byte) portrules.Decision {
	pkt := portrules.Parse(frame)
	d := r.policy.Decide(&pkt, portrules.Env{
		LeaseOver:        r.leaseOver,
		Fence:            r.listener.Fence,
		HasSocket:        r.hasSocket,
		FragmentAccepted: func(k portrules.FragmentKey) bool { return r.fragments[k] },
		FragmentRefused: func(k portrules.FragmentKey) bool {
			accepted, known := r.fragments[k]
			return known && !accepted
		},
		Beacon: func(b [portrules.BeaconSize]byte) portrules.Reason { return r.listener.Hear(b, r.policy.Epoch) },
		Client: func(k portrules.ClientKey) (portrules.Client, bool) { return r.clients.Get(k, 1) },
	})
	r.clients.Note(d.Note, d.Client, netip.AddrPortFrom(pkt.Src, pkt.SrcPort), 1)
	if d.RecordFragment || d.RecordRefusal {
		r.fragments[pkt.Fragment.Key] = d.RecordFragment
	}
	r.reasons[d.Reason]++
	return d
}

// compare wants the same totals by reason.
func (r *reference) compare(t *testing.T, j *judge) {
	t.Helper()
	got := make(map[portrules.Reason]uint64)
	for _, c := range j.counters.read() {
		got[c.Reason] += c.Packets
	}
	for reason := portrules.NotVIP + 1; reason < portrules.NumReasons; reason++ {
		if got[reason] != r.reasons[reason] {
			t.Errorf("%v: counted %d, want %d", reason, got[reason], r.reasons[reason])
		}
	}
	if j.listener != r.listener {
		t.Errorf("the judge knows\n%+v, want\n%+v", j.listener, r.listener)
	}
	t.Log(r.reasons)
}

func TestDecideDoesNotAllocate(t *testing.T) {
	for _, v := range frames.Vectors() {
		if v.Records || v.Reason == portrules.BeaconHeard {
			continue // these remember something
		}
		j := newJudge(frames.Self, frames.BeaconKey, func(portrules.Flow) bool { return false })
		j.install(v.Policy, nil, moment{})
		j.lease.Store(math.MaxInt64)
		j.decide(v.Frame, 0, 1)
		if n := testing.AllocsPerRun(10, func() { j.decide(v.Frame, 0, 1) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", v.Name, n)
		}
	}
}
