// Package dataplane names what the agent needs from an engine that decides,
// frame by frame, whether this member answers. Engines live in subpackages.
package dataplane

import (
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Setup is what an engine is opened with; it does not change while it is open.
type Setup struct {
	Cluster    string           // with Member: identifies the pins
	Member     string           //
	Interface  string           // in the caller's network namespace
	Kind       string           // auto, xdp, tc or afpacket
	SourceMAC  net.HardwareAddr // Ethernet source of packets from a VIP
	ClusterMAC net.HardwareAddr // payload of ARP on behalf of a VIP; never an Ethernet source
	Priority   uint8            // of this member, as beacons name it; 0: beacons are frames like any other
	BeaconKey  nlbhash.Key      // of the tags of beacons, until SetBeaconKeys
}

// Engine decides for every frame that arrives on one interface. A new engine is
// attached and silent: without a lease it answers nothing on any VIP.
type Engine interface {
	// Install puts a policy in force, at one instant, and makes ready the next, if it
	// is not nil; the one that was next before is forgotten. A policy keeps its pointer
	// from next to now, and is then switched to without delay. It must not change.
	// When a rule's ID is in neither any more, what was counted and who is remembered
	// under it is forgotten before Install returns.
	Install(now *portrules.Policy, next *Next) error
	// Renew lets the engine answer until an instant. It is absolute so that an
	// agent that was frozen between deciding and renewing grants nothing: the
	// instant has passed. Zero silences the engine at once.
	Renew(until Instant) error
	// Beacons delivers the beacons heard on the segment: authentic and none twice,
	// also those of this member should they come back. A reader who is late misses
	// the oldest. It is closed by Close.
	Beacons() <-chan converge.Beacon
	// SetBeaconKeys replaces the keys of which authentic beacons have one. There are one or
	// two; one that was there before goes on counting all the time.
	SetBeaconKeys([]nlbhash.Key) error
	// Counters reads the packets counted since the engine was opened, without those of
	// rules that are gone.
	Counters() ([]Counter, error)
	// Kind is the engine that runs: "xdp", "tc" or "afpacket".
	Kind() string
	// FollowsNAT reports whether the engine knows the connections of services behind
	// NAT, such as containers, when buckets move. If not, they break then.
	FollowsNAT() bool
	Clients
	// Close detaches the engine and removes its pins.
	Close() error
}

// Next is a policy that is not in force yet.
type Next struct {
	Policy *portrules.Policy
	Commit converge.Epoch // whose beacon the engine obeys by switching to it; zero: none
}

// Instant is a time on CLOCK_MONOTONIC, in nanoseconds.
type Instant int64

// Now reads CLOCK_MONOTONIC.
func Now() Instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // cannot happen on Linux; zero grants no lease
	}
	return Instant(now.Nano())
}

// Add returns the instant d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Counter is the number of packets that left through one exit.
type Counter struct {
	Rule    uint16 // its ID; portrules.NumRuleIDs: of traffic that no rule covers
	Reason  portrules.Reason
	Packets uint64
}
