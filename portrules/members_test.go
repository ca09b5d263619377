package portrules_test

import (
	"math/rand/v2"
	"testing"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Members whose tables were made from the same owners never answer the same frame,
// and where it is a good one, one of them does.
func TestExactlyOneMemberAnswers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		members := randomMembers(rng)
		for range 500 {
			frame := frames.Random(rng, members[0])
			pkt := portrules.Parse(frame)
			accepts, reason := 0, portrules.NotVIP
			for _, p := range members {
				d := p.Decide(&pkt, portrules.Env{})
				switch {
				case d.Reason == portrules.EarlyFragment: // kept by all, answered by none
				case d.Verdict == portrules.Accept:
					accepts++
				case d.Verdict == portrules.Drop:
					reason = d.Reason
				}
			}
			switch reason {
			case portrules.NotOwner, portrules.NotDefault:
				if accepts != 1 {
					t.Fatalf("%d of %d members accept % x", accepts, len(members), frame)
				}
			case portrules.NotVIP: // passed by all, or a reply to a VIP that all take
			default:
				if accepts != 0 {
					t.Fatalf("%d members accept, others drop as %v: % x", accepts, reason, frame)
				}
			}
		}
	}
}

// While a bucket moves, the old owner holds it as residual and the new one as
// foreign-held. A segment goes to the one with its socket and to nobody without.
func TestHandoverAnswersOnce(t *testing.T) {
	const web = frames.WebTable
	old := frames.Policy(map[int]portrules.Flags{web: portrules.Residual})
	taker := frames.Policy(map[int]portrules.Flags{web: portrules.Own | portrules.Foreign})
	has, none := func(portrules.Flow) bool { return true }, func(portrules.Flow) bool { return false }
	for _, v := range frames.Vectors() {
		pkt := portrules.Parse(v.Frame)
		if pkt.Kind != portrules.IP || pkt.Malformed || pkt.Protocol != portrules.ProtoTCP || pkt.DstPort != 80 || pkt.Fragment.Later {
			continue
		}
		for _, tt := range []struct {
			name       string
			old, taker func(portrules.Flow) bool
			want       int // accepts of a segment that is not a SYN
		}{{"old owner has it", has, none, 1}, {"new owner has it", none, has, 1}, {"nobody has it", none, none, 0}} {
			want := tt.want
			if pkt.SYN {
				want = 1
			}
			a, b := old.Decide(&pkt, portrules.Env{HasSocket: tt.old}), taker.Decide(&pkt, portrules.Env{HasSocket: tt.taker})
			if a.Verdict == portrules.Pass {
				continue
			}
			got := 0
			for _, d := range []portrules.Decision{a, b} {
				if d.Verdict == portrules.Accept {
					got++
				}
			}
			if got != want {
				t.Errorf("%s, %s: %d accept (%v, %v), want %d", v.Name, tt.name, got, a.Reason, b.Reason, want)
			}
		}
	}
}

// randomMembers returns the policies of 2 to 6 members of one cluster.
func randomMembers(rng *rand.Rand) []*portrules.Policy {
	shared := frames.RandomPolicy(rng)
	members := make([]*portrules.Policy, 2+rng.IntN(5))
	for i := range members {
		p := *shared
		p.Tables = make([]portrules.Buckets, len(shared.Tables))
		members[i] = &p
	}
	for table := range shared.Tables {
		var targets nlbhash.Targets
		for i := range members {
			targets[i+1] = 1 + rng.Uint32N(100)
		}
		for b, owner := range nlbhash.Rebalance(nil, targets) {
			members[owner-1].Tables[table][b] = portrules.Own
		}
	}
	return members
}
