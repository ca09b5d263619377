package portrules_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Random frames reach every exit often enough to be worth comparing engines with,
// and every decision is consistent.
func TestDecideRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const policies, perPolicy = 50, 1000
	var reasons [portrules.NumReasons]int
	for range policies {
		p := frames.RandomPolicy(rng)
		if err := portrules.Validate(p.VIPs, p.Rules); err != nil {
			t.Fatal(err)
		}
		listener := newListener()
		for range perPolicy {
			env := randomEnv(rng.Uint32(), p, listener)
			pkt := portrules.Parse(frames.Random(rng, p))
			d := p.Decide(&pkt, env)
			checkDecision(t, p, &pkt, env, d)
			reasons[d.Reason]++
		}
	}
	for r, n := range reasons {
		if n < policies*perPolicy/1000 {
			t.Errorf("reason %v in %d of %d frames: too seldom to test it", portrules.Reason(r), n, policies*perPolicy)
		}
	}
	t.Log(reasons)
}

func newListener() *portrules.Listener {
	return &portrules.Listener{Self: frames.Self, Key: frames.BeaconKey}
}

func randomEnv(seed uint32, p *portrules.Policy, l *portrules.Listener) portrules.Env {
	return portrules.Env{
		Fence:            l.Fence,
		Beacon:           func(b [portrules.BeaconSize]byte) portrules.Reason { return l.Hear(b, p.Epoch) },
		LeaseOver:        seed%16 == 0,
		HasSocket:        func(portrules.Flow) bool { return seed&16 != 0 },
		HasNAT:           func(portrules.Flow) bool { return seed&64 != 0 },
		FragmentAccepted: func(portrules.FragmentKey) bool { return seed&32 != 0 },
		FragmentRefused:  func(portrules.FragmentKey) bool { return seed&128 != 0 },
		Client: func(portrules.ClientKey) (portrules.Client, bool) {
			return portrules.Client{Mine: seed&1024 != 0, Silent: time.Duration(seed>>8&1) * time.Hour}, seed&512 != 0
		},
	}
}

// checkDecision checks what holds for every decision, whatever the frame.
func checkDecision(t *testing.T, p *portrules.Policy, pkt *portrules.Packet, env portrules.Env, d portrules.Decision) {
	t.Helper()
	if want := d.Reason.Verdict(); d.Verdict != want {
		t.Errorf("reason %v with verdict %v, want %v", d.Reason, d.Verdict, want)
	}
	if d.Rule < -1 || d.Rule >= len(p.Rules) {
		t.Errorf("rule %d of %d", d.Rule, len(p.Rules))
	}
	if (d.Table < 0) != (d.Bucket < 0) {
		t.Errorf("table %d, bucket %d: both or neither", d.Table, d.Bucket)
	}
	if d.Table >= 0 && p.Tables[d.Table][d.Bucket] != d.Flags {
		t.Errorf("flags %v are not those of bucket %d in table %d", d.Flags, d.Bucket, d.Table)
	}
	if d.Verdict == portrules.Accept && d.Reason != portrules.NeighborReply && env.LeaseOver {
		t.Errorf("accepted as %v without a lease", d.Reason)
	}
	if d.Verdict == portrules.Accept && d.Reason != portrules.NeighborReply && env.Fence != 0 && env.Fence >= p.Epoch {
		t.Errorf("accepted as %v in epoch %d behind fence %d", d.Reason, p.Epoch, env.Fence)
	}
	if d.Note != portrules.NoteNothing && (int(d.Client.Bucket) != d.Bucket || d.Client.Rule != p.RuleID(d.Rule)) {
		t.Errorf("client %+v is not of bucket %d of rule %d", d.Client, d.Bucket, d.Rule)
	}
	if d.Note == portrules.NoteOther && (d.Reason == portrules.New || d.Reason == portrules.Owner) {
		t.Errorf("accepted as %v and noted as another's client", d.Reason)
	}
	if d.RecordFragment && (d.Verdict != portrules.Accept || !pkt.Fragment.First) {
		t.Errorf("recorded fragment %+v of a frame with verdict %v", pkt.Fragment, d.Verdict)
	}
}
