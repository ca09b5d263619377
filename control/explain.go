package control

import (
	"net/netip"
)

// ExplainRequest names a packet of a client. Ports are 0 for icmp; ClientPort may
// be 0 otherwise, where the rule does not hash it.
type ExplainRequest struct {
	Client     netip.Addr `json:"client"`
	ClientPort uint16     `json:"client_port,omitempty"`
	VIP        netip.Addr `json:"vip"`
	Port       uint16     `json:"port,omitempty"`
	Protocol   string     `json:"protocol"` // tcp, udp, sctp or icmp
}

// Check returns an [Error] where no packet can be meant.
func (r *ExplainRequest) Check() error {
	switch {
	case !plain(r.Client):
		return Refuse("the client's address is missing or unusable: give one such as 192.0.2.200 or 2001:db8::200")
	case !plain(r.VIP):
		return Refuse("the virtual IP address is missing or unusable: give one of the cluster's")
	case r.Client.Is4() != r.VIP.Is4():
		return Refuse("client %v and virtual IP %v are not of one family: give two IPv4 or two IPv6 addresses", r.Client, r.VIP)
	}
	switch r.Protocol {
	case "tcp", "udp", "sctp":
		return nil
	case "icmp":
		if r.Port != 0 || r.ClientPort != 0 {
			return Refuse("icmp has no ports: give addresses only")
		}
		return nil
	}
	return Refuse("unknown protocol %.64q: write tcp, udp, sctp or icmp", r.Protocol)
}

// plain reports whether an address is one that stands in a packet.
func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }

// Explanation says who answers a packet, and why, step by step.
type Explanation struct {
	ExplainRequest
	Epoch         uint64   `json:"epoch"`
	Rule          string   `json:"rule"` // "" where no rule covers the packet
	Mode          string   `json:"mode"`
	Affinity      string   `json:"affinity"`
	Key           string   `json:"key"` // the hashed bytes in hexadecimal
	Bucket        int      `json:"bucket"`
	Owner         string   `json:"owner"` // of the bucket; "" where there is none
	OwnerPriority uint8    `json:"owner_priority"`
	Member        string   `json:"member"` // the member asked, of which verdict and reason speak
	Verdict       string   `json:"verdict"`
	Reason        string   `json:"reason"`
	Steps         []string `json:"steps"`
	Members       []Part   `json:"members"`  // by priority; none where no bucket was asked for
	Answered      bool     `json:"answered"` // somebody answers
	Conclusion    string   `json:"conclusion"`
}

// Part is what one member does about a packet, by its own word.
type Part struct {
	Member   string `json:"member"`
	Priority uint8  `json:"priority"`
	State    string `json:"state"`           // started, draining, stopped or suspended
	Error    string `json:"error,omitempty"` // why the rest is not known
	Epoch    uint64 `json:"epoch"`
	Lease    bool   `json:"lease"`
	Flag     string `json:"flag"`     // own, own and foreign-held, residual or none
	New      Exit   `json:"new"`      // of the first packet of a connection
	Existing Exit   `json:"existing"` // of a later one of a connection that this member has
	Unknown  Exit   `json:"unknown"`  // of a later one of a connection that it does not have
	// Listens is yes, no, or nat where connections are passed on to another address; ""
	// where nobody looked.
	Listens     string `json:"listens"`
	Connections int    `json:"connections"` // of this client to this port
}

// Exit is how a packet leaves the decision.
type Exit struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
}

// fillNil makes empty lists print as [] and not as null.
func (e *Explanation) fillNil() {
	e.Steps = append([]string{}, e.Steps...)
	e.Members = append([]Part{}, e.Members...)
}
