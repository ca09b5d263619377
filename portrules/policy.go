package portrules

import (
	"fmt"
	"net/netip"

	"github.com/opennlb/opennlb/nlbhash"
)

// Flags says what this member does with one bucket. The zero value means that
// another member answers.
type Flags uint8

const (
	Own      Flags = 1 << iota // new flows are mine
	Residual                   // not mine any more, but I serve earlier connections
	Foreign                    // mine, but another member may hold earlier connections
)

// Buckets is one decision table: this member's part in every bucket.
type Buckets [nlbhash.Buckets]Flags

// Policy is everything that a member's decision depends on, apart from the
// lease and its sockets. An engine installs it as a whole or not at all.
type Policy struct {
	Epoch        uint64
	HashKey      nlbhash.Key
	VIPs         []netip.Addr
	Rules        []Rule
	RuleTable    []int     // index into Tables, one per rule; ignored for Disabled
	DefaultTable int       // index into Tables for traffic that no rule covers
	Tables       []Buckets // rules with equal targets share one
}

// CheckIDs reports a rule whose ID is out of range or another's, too. Packets are counted
// and clients remembered by ID: it belongs to a name for as long as a policy has the rule,
// wherever in the list. Once a policy without it is in force and nothing else is next, it
// stands for nothing, and may be given away.
func (p *Policy) CheckIDs() error {
	var taken [NumRuleIDs]bool
	for _, r := range p.Rules {
		if r.ID >= NumRuleIDs || taken[r.ID] {
			return fmt.Errorf("rule %q has ID %d, which is another's or not below %d", r.Name, r.ID, NumRuleIDs)
		}
		taken[r.ID] = true
	}
	return nil
}

// RuleID is the ID of the rule at an index, NumRuleIDs for -1, which stands for no rule.
func (p *Policy) RuleID(rule int) uint16 {
	if rule < 0 {
		return NumRuleIDs
	}
	return p.Rules[rule].ID
}
