// Package portrules holds the port rules and the decision: what a member does
// with one frame, and why. It is pure, and the reference that the eBPF program,
// the AF_PACKET engine and nlbctl explain answer to; see docs/DECISION.md.
package portrules

import (
	"net/netip"
	"time"
)

// Mode is a rule's filtering mode.
type Mode uint8

const (
	Multiple Mode = iota // all members share the load by hash
	Single               // the live member with the best handling priority takes all
	Disabled             // traffic is dropped, see Rule.Reject
)

// Affinity says which part of the client's address is hashed.
type Affinity uint8

const (
	AffinityNone    Affinity = iota // address and port
	AffinitySingle                  // address
	AffinityNetwork                 // address prefix, see Rule
)

// Protocol is a set of transport protocols.
type Protocol uint8

const (
	TCP Protocol = 1 << iota
	UDP
	SCTP
	Both = TCP | UDP
)

// Prefix lengths for AffinityNetwork where a rule gives none, in bits.
const (
	DefaultPrefixV4 = 24
	DefaultPrefixV6 = 64
)

// NumRuleIDs is how many IDs there are; also the number by which what no rule covers is
// counted.
const NumRuleIDs = 1024

// Rule is one port rule as the administrator wrote it.
type Rule struct {
	Name     string
	ID       uint16     // 0 to NumRuleIDs-1, see Policy.CheckIDs
	VIP      netip.Addr // zero: all VIPs
	Protocol Protocol
	First    uint16 // first port of the range
	Last     uint16 // last port of the range, inclusive
	Mode     Mode
	Keep     bool // mode single: the owner stays when a member with a better handling priority returns (preempt: false)
	Affinity Affinity
	Timeout  time.Duration // extended affinity; 0 = off
	PrefixV4 uint8         // AffinityNetwork only: bits hashed of an IPv4 address, 8 to 32; 0 = 24
	PrefixV6 uint8         // and of an IPv6 address, 16 to 128; 0 = 64
	Reject   bool          // Disabled only: the default host says so to the sender
}
