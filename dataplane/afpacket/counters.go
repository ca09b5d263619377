package afpacket

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// counts are the packets that left by each exit under one rule.
type counts struct {
	packets [portrules.NumReasons]atomic.Uint64
	gone    atomic.Bool // the rule is; late frames are counted and remembered for nobody
}

// counters holds the counts of the rules that there are, since the engine was opened, by
// ID, so that a rule keeps its own from policy to policy.
type counters struct {
	mu   sync.Mutex
	byID map[uint16]*counts
}

// of returns the counts of each rule, and those of traffic that no rule covers.
func (c *counters) of(p *portrules.Policy) []*counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[uint16]*counts)
	}
	out := make([]*counts, len(p.Rules)+1)
	for i := range out {
		id := uint16(portrules.NumRuleIDs)
		if i < len(p.Rules) {
			id = p.Rules[i].ID
		}
		if c.byID[id] == nil {
			c.byID[id] = new(counts)
		}
		out[i] = c.byID[id]
	}
	return out
}

// retire forgets the rules that are in none of the policies, and returns their IDs.
func (c *counters) retire(policies ...*portrules.Policy) (gone map[uint16]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone = make(map[uint16]bool)
	for id := range c.byID {
		gone[id] = id != portrules.NumRuleIDs
	}
	for _, p := range policies {
		for _, r := range p.Rules {
			gone[r.ID] = false
		}
	}
	maps.DeleteFunc(gone, func(_ uint16, is bool) bool { return !is })
	for id := range gone {
		c.byID[id].gone.Store(true)
		delete(c.byID, id)
	}
	return gone
}

// read returns what has been counted; exits that no packet took are left out.
func (c *counters) read() []dataplane.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []dataplane.Counter
	for _, id := range slices.Sorted(maps.Keys(c.byID)) {
		for reason := range portrules.NumReasons {
			if n := c.byID[id].packets[reason].Load(); n != 0 {
				out = append(out, dataplane.Counter{Rule: id, Reason: reason, Packets: n})
			}
		}
	}
	return out
}
