package afpacket

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// What was counted and remembered of a rule goes with its ID until that is in no policy
// any more. A late frame, judged by a policy before, leaves nothing under it.
func TestRetire(t *testing.T) {
	policy := func(rules ...portrules.Rule) *portrules.Policy {
		p := &portrules.Policy{VIPs: []netip.Addr{frames.VIP4}, Tables: make([]portrules.Buckets, 1), RuleTable: make([]int, len(rules))}
		for _, r := range rules {
			r.Protocol, r.Last, r.Timeout = portrules.TCP, r.First, time.Minute
			p.Rules = append(p.Rules, r)
		}
		return p
	}
	keeper, old := portrules.Rule{ID: 1023, First: 80}, portrules.Rule{ID: 5, First: 81}
	one, other := policy(old, keeper), policy(keeper)
	j := newJudge(0, frames.BeaconKey, nil)
	j.lease.Store(math.MaxInt64)
	hit := func(port uint16, arrived int64) {
		client := netip.AddrPortFrom(frames.Client, frames.ClientPort)
		j.decide(frames.TCPFrame(client, netip.AddrPortFrom(frames.VIP4, port), frames.SYN), arrived, 1)
	}
	check := func(what string, want map[uint16]uint64) {
		t.Helper()
		packets, clients := make(map[uint16]uint64), make(map[uint16]uint64)
		for _, c := range j.counters.read() {
			packets[c.Rule] += c.Packets
		}
		for k := range j.clients.table.All(1) {
			clients[k.Rule]++
		}
		for id, n := range want {
			if packets[id] != n || clients[id] != min(n, 1) {
				t.Errorf("%s: rule %d: %d packets, %d clients, want %d packets of one client", what, id, packets[id], clients[id], n)
			}
		}
	}
	j.install(one, other, moment{real: 10})
	hit(80, 10)
	hit(81, 10)
	check("both", map[uint16]uint64{1023: 1, 5: 1})
	j.install(other, one, moment{real: 20})
	hit(81, 15)
	check("one is next", map[uint16]uint64{1023: 1, 5: 2})
	j.install(other, nil, moment{real: 30})
	check("it is gone", map[uint16]uint64{1023: 1, 5: 0})
	hit(81, 15)
	check("late", map[uint16]uint64{1023: 1, 5: 0})
	j.install(policy(keeper, portrules.Rule{ID: 5, First: 82}), nil, moment{real: 40})
	hit(81, 15)
	check("its ID is given away", map[uint16]uint64{1023: 1, 5: 0})
	hit(82, 40)
	check("and used", map[uint16]uint64{1023: 1, 5: 1})
}
