// Package control lets nlbctl and monitoring look at a member and steer it: JSON
// over HTTP on a unix socket, and a read-only page with metrics on TCP. It knows
// nothing of how a member works; the agent implements [Backend].
package control

import (
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// Status is what `nlbctl status -o json` prints. Field names never change; new
// ones may be added.
type Status struct {
	Cluster     string       `json:"cluster"`
	Mode        string       `json:"mode"`
	ClusterMAC  string       `json:"cluster_mac"`
	VIPs        []netip.Addr `json:"vips"`
	Epoch       uint64       `json:"epoch"`
	Config      uint64       `json:"config_version"` // of the cluster's configuration; 0: not agreed on yet
	Converged   bool         `json:"converged"`
	DefaultHost string       `json:"default_host"` // "" while nobody is started
	Self        string       `json:"self"`
	Version     string       `json:"version"`
	Lease       bool         `json:"lease"`      // this member's data plane may answer
	Detection   string       `json:"detection"`  // fast, normal or relaxed
	LeaseTime   Duration     `json:"lease_time"` // how long the data plane answers without its agent
	Dataplane   Dataplane    `json:"dataplane"`
	Members     []Member     `json:"members"` // by priority
	Rules       []Rule       `json:"rules"`   // in the order of the configuration
	Warnings    []string     `json:"warnings"`
}

// Dataplane is the engine of the member asked.
type Dataplane struct {
	Kind     string    `json:"kind"` // xdp, tc or afpacket
	Counters []Counter `json:"counters"`
}

// Counter is the number of packets that left through one exit.
type Counter struct {
	Rule    string `json:"rule"` // "" for traffic that no rule covers
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

// Member is one host of the cluster.
type Member struct {
	Name        string     `json:"name"`
	Priority    uint8      `json:"priority"`
	Address     netip.Addr `json:"address"`
	State       string     `json:"state"` // started, draining, stopped or suspended
	Alive       bool       `json:"alive"`
	Connections int        `json:"connections"`         // left while draining
	Counting    bool       `json:"counting,omitempty"`  // draining, and how many are left is not known yet
	HeldBack    Duration   `json:"held_back,omitempty"` // not let in before this time is over, since it came and went
}

// Rule is one port rule with those who own its buckets.
type Rule struct {
	Name     string             `json:"name"`
	VIP      string             `json:"vip"` // an address or all
	Protocol portrules.Protocol `json:"protocol"`
	Ports    string             `json:"ports"` // 80 or 80-443
	Mode     portrules.Mode     `json:"mode"`
	Preempt  bool               `json:"preempt"` // mode single: a better handling priority takes over
	Affinity portrules.Affinity `json:"affinity"`
	Timeout  Duration           `json:"timeout"`
	Owners   []Owner            `json:"owners"` // by priority; members without buckets left out
}

// Owner is a member's share of a rule, of 4096 buckets in all.
type Owner struct {
	Member  string `json:"member"`
	Buckets int    `json:"buckets"`
}

// States are the states of a member, in the order of the metrics and tables.
func States() []string { return []string{"started", "draining", "stopped", "suspended"} }

// fillNil makes empty lists print as [] and not as null.
func (s *Status) fillNil() {
	s.VIPs = append([]netip.Addr{}, s.VIPs...)
	s.Dataplane.Counters = append([]Counter{}, s.Dataplane.Counters...)
	s.Members = append([]Member{}, s.Members...)
	s.Rules = append([]Rule{}, s.Rules...)
	for i := range s.Rules {
		s.Rules[i].Owners = append([]Owner{}, s.Rules[i].Owners...)
	}
	s.Warnings = append([]string{}, s.Warnings...)
}
