package control

import "net/netip"

// PortRequest names a port of a virtual IP.
type PortRequest struct {
	VIP      netip.Addr `json:"vip"`
	Port     uint16     `json:"port"`
	Protocol string     `json:"protocol"` // tcp, udp or sctp
}

// Check returns an [Error] where no port can be meant.
func (r *PortRequest) Check() error {
	switch {
	case !plain(r.VIP):
		return Refuse("the virtual IP address is missing or unusable: give one of the cluster's")
	case r.Protocol != "tcp" && r.Protocol != "udp" && r.Protocol != "sctp":
		return Refuse("unknown protocol %.64q: write tcp, udp or sctp", r.Protocol)
	}
	return nil
}

// Port is what the cluster does about a port.
type Port struct {
	PortRequest
	Epoch    uint64        `json:"epoch"`
	Rule     *Rule         `json:"rule"`     // null where no rule covers the port: the default host answers
	Shares   []PortShare   `json:"shares"`   // of the members of the view, by priority
	Counters []PortCounter `json:"counters"` // of all members, by priority
	Warnings []string      `json:"warnings"`
}

// PortShare is a member's part in what covers the port.
type PortShare struct {
	Member string `json:"member"`
	State  string `json:"state"`
	// RuleState is enabled, draining or disabled: of the rule at this member; "" where no
	// rule covers the port.
	RuleState string  `json:"rule_state"`
	Weight    uint8   `json:"weight"`   // counts in mode multiple
	Priority  uint8   `json:"priority"` // for handling, counts in mode single; of the host where no rule covers the port
	Buckets   int     `json:"buckets"`  // owned, of 4096
	Percent   float64 `json:"percent"`
	Keeps     int     `json:"keeps"` // buckets of others in which it may have connections from before
}

// PortCounter is what one member counted for what covers the port, since its data plane
// was opened: of the whole rule, not of the one port.
type PortCounter struct {
	Member string            `json:"member"`
	Error  string            `json:"error,omitempty"` // why nothing is known
	Counts map[string]uint64 `json:"counts"`          // packets, by reason
}

// fillNil makes empty lists print as [] and not as null.
func (p *Port) fillNil() {
	if p.Rule != nil {
		p.Rule.Owners = append([]Owner{}, p.Rule.Owners...)
	}
	p.Shares = append([]PortShare{}, p.Shares...)
	p.Counters = append([]PortCounter{}, p.Counters...)
	for i := range p.Counters {
		if p.Counters[i].Counts == nil {
			p.Counters[i].Counts = map[string]uint64{}
		}
	}
	p.Warnings = append([]string{}, p.Warnings...)
}
