// Package config turns the YAML an administrator writes into typed, validated
// values.
package config

import (
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// Mode is how the members share the cluster MAC address.
type Mode string

const (
	Unicast   Mode = "unicast"
	Multicast Mode = "multicast"
	IGMP      Mode = "igmp"
)

// Config is one member's whole configuration, defaults filled in.
type Config struct {
	Cluster    Cluster
	Member     Member
	Membership Membership
	Dataplane  string // auto, xdp, tc or afpacket
	Control    Control
	Notify     Notify
	StateDir   string
}

// Cluster is the part that is the same on all members.
type Cluster struct {
	Name      string
	Mode      Mode
	VIPs      []netip.Addr
	Partition string // serve or majority
	Detection string // how soon silence is death: fast, normal or relaxed
	Dampening bool   // hold back a member that comes and goes
	Rules     []portrules.Rule
}

// Member is what is particular to this member.
type Member struct {
	Name         string
	Priority     uint8 // 1 to 32
	Interface    string
	Address      netip.Addr // dedicated IP; zero: first IPv4 address of Interface
	InitialState string     // started, stopped or suspended
	RetainState  bool       // what an administrator last asked for replaces InitialState
	SourceMAC    string     // auto, nic or member
	Rules        map[string]MemberRule
}

// MemberRule is this member's share of one port rule.
type MemberRule struct {
	Weight   uint8 // 0 to 100; default 50
	Priority uint8 // handling priority for single mode; default: the member's priority
}

// Membership says how members find and trust each other.
type Membership struct {
	Port     uint16
	Join     []netip.Addr
	KeyFile  string
	Insecure bool // run without a key
}

// Control is how the agent is controlled and watched.
type Control struct {
	Socket string
	HTTP   string // host:port; "" = off
	Remote Remote
}
