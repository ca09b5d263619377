package portrules

import (
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
