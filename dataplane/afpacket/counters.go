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
}

// counters holds the counts of all rules since the engine was opened, by name, so
// that a rule keeps its own from policy to policy. Those of rules that are gone stay.
type counters struct {
	mu     sync.Mutex
	byName map[string]*counts
}

// of returns the counts of each rule, and those of traffic that no rule covers.
func (c *counters) of(rules []portrules.Rule) []*counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*counts, 0, len(rules)+1)
	for _, r := range rules {
		out = append(out, c.named(r.Name))
	}
	return append(out, c.named(""))
}

func (c *counters) named(name string) *counts {
	if c.byName == nil {
		c.byName = make(map[string]*counts)
	}
	if c.byName[name] == nil {
		c.byName[name] = new(counts)
	}
	return c.byName[name]
}

// read returns what has been counted; exits that no packet took are left out.
func (c *counters) read() []dataplane.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []dataplane.Counter
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		for reason := range portrules.NumReasons {
			if n := c.byName[name].packets[reason].Load(); n != 0 {
				out = append(out, dataplane.Counter{Rule: name, Reason: reason, Packets: n})
			}
		}
	}
	return out
}
