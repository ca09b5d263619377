package ebpf

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// policyOf is one with a rule per port, all buckets own, that keeps clients.
func policyOf(rules ...portrules.Rule) *portrules.Policy {
	p := &portrules.Policy{VIPs: []netip.Addr{frames.VIP4}, Tables: make([]portrules.Buckets, 1), RuleTable: make([]int, len(rules))}
	for _, r := range rules {
		r.Name, r.Protocol, r.Last, r.Timeout = fmt.Sprintf("r%d", r.First), portrules.TCP, r.First, time.Minute
		p.Rules = append(p.Rules, r)
	}
	for b := range p.Tables[0] {
		p.Tables[0][b] = portrules.Own
	}
	return p
}

// What was counted and remembered of a rule goes with its ID, wherever in the list it is,
// until that is in no policy any more; whoever gets it then starts from nothing.
func TestRetire(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	keeper, old := portrules.Rule{ID: 1023, First: 80}, portrules.Rule{ID: 5, First: 81}
	one, other := policyOf(old, keeper), policyOf(keeper)
	check := func(what string, want map[uint16]uint64) {
		t.Helper()
		got, remembered := make(map[uint16]uint64), make(map[uint16]uint64)
		for _, c := range counters(t, e) {
			got[c.Rule] += c.Packets
		}
		for k := range clientsOf(t, e) {
			remembered[k.Rule]++
		}
		for id, packets := range want {
			if got[id] != packets || remembered[id] != min(packets, 1) {
				t.Errorf("%s: rule %d: %d packets, %d clients, want %d packets of one client", what, id, got[id], remembered[id], packets)
			}
		}
		pinned, rules, err := ReadPinnedCounters(testCluster, t.Name())
		if live := counters(t, e); err != nil || !slices.Equal(pinned, live) {
			t.Errorf("%s: pinned counters %v, %v, want %v", what, pinned, err, live)
		}
		for _, c := range pinned {
			if rules[c.Rule] == "" && c.Rule != portrules.NumRuleIDs {
				t.Errorf("%s: rule %d has no name among the pins", what, c.Rule)
			}
		}
	}
	hit := func(ports ...uint16) {
		t.Helper()
		for _, port := range ports {
			if err := e.runTC(frames.TCPFrame(testClient, vipPort(port), frames.SYN), portrules.Accept); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(now, next *portrules.Policy) {
		t.Helper()
		var following *dataplane.Next
		if next != nil {
			following = &dataplane.Next{Policy: next}
		}
		if err := e.Install(now, following); err != nil {
			t.Fatal(err)
		}
		if err := e.Renew(dataplane.Now().Add(longLease)); err != nil {
			t.Fatal(err)
		}
	}
	put(one, nil)
	hit(80, 81, 81)
	check("both", map[uint16]uint64{1023: 1, 5: 2})
	put(one, other)
	hit(80)
	put(other, one)
	hit(80)
	check("one is next", map[uint16]uint64{1023: 3, 5: 2})
	put(other, nil)
	check("it is gone", map[uint16]uint64{1023: 3, 5: 0})
	fresh := policyOf(keeper, portrules.Rule{ID: 5, First: 82})
	put(fresh, nil)
	check("its ID is given away", map[uint16]uint64{1023: 3, 5: 0})
	hit(80, 82)
	check("and used", map[uint16]uint64{1023: 4, 5: 1})
}
