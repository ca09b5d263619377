// Package dataplane names what the agent needs from an engine that decides,
// frame by frame, whether this member answers. Engines live in subpackages.
package dataplane

import (
	"net"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// Setup is what an engine is opened with; it does not change while it is open.
type Setup struct {
	Cluster    string           // with Member: identifies the pins
	Member     string           //
	Interface  string           // in the caller's network namespace
	Kind       string           // auto, xdp or tc
	SourceMAC  net.HardwareAddr // Ethernet source of packets from a VIP
	ClusterMAC net.HardwareAddr // payload of ARP on behalf of a VIP; never an Ethernet source
}

// Engine decides for every frame that arrives on one interface. A new engine is
// attached and silent: without a lease it answers nothing on any VIP.
type Engine interface {
	// Install replaces the whole policy at one instant.
	Install(*portrules.Policy) error
	// Renew lets the engine answer for d from now, measured on CLOCK_MONOTONIC.
	// Zero silences it at once.
	Renew(d time.Duration) error
	// Counters reads the packets counted since the engine was opened.
	Counters() ([]Counter, error)
	// Kind is the engine that runs: "xdp" or "tc".
	Kind() string
	// Close detaches the engine and removes its pins.
	Close() error
}

// Counter is the number of packets that left through one exit.
type Counter struct {
	Rule    string           `json:"rule"` // "" for traffic that no rule covers
	Reason  portrules.Reason `json:"-"`
	Name    string           `json:"reason"`
	Packets uint64           `json:"packets"`
}
