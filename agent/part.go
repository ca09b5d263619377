package agent

import (
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
)

// packetOf is the first packet of the flow that is asked about.
func packetOf(r control.ExplainRequest) portrules.Packet {
	p := portrules.Packet{Kind: portrules.IP, Src: r.Client, Dst: r.VIP, SrcPort: r.ClientPort, DstPort: r.Port}
	switch protocol := transportOf(r.Protocol); {
	case protocol == portrules.TCP:
		p.Protocol, p.SYN = portrules.ProtoTCP, true
	case protocol == portrules.UDP:
		p.Protocol = portrules.ProtoUDP
	case protocol == portrules.SCTP:
		p.Protocol = portrules.ProtoSCTP
	case r.Client.Is4():
		p.Protocol = 1 // ICMP
	default:
		p.Protocol = 58 // ICMPv6
	}
	return p
}

// transportOf returns 0 for icmp.
func transportOf(protocol string) portrules.Protocol {
	switch protocol {
	case "tcp":
		return portrules.TCP
	case "udp":
		return portrules.UDP
	case "sctp":
		return portrules.SCTP
	}
	return 0
}

// part is what this member does about a packet, apart from what look adds.
func (l *loop) part(r control.ExplainRequest) control.Part {
	self := l.machine.Self()
	p := control.Part{Member: self.Name, Priority: self.Priority, State: self.State.String(), Lease: l.machine.Serving()}
	if a := l.machine.Committed(); a != nil {
		p.Epoch = a.Epoch.N
	}
	if l.policy == nil {
		p.Error = "has no tables yet"
		return p
	}
	pkt, has := packetOf(r), false
	env := portrules.Env{LeaseOver: !p.Lease, Client: l.remembered, HasSocket: func(portrules.Flow) bool { return has }}
	exit := func() control.Exit {
		d := l.policy.Decide(&pkt, env)
		return control.Exit{Verdict: d.Verdict.String(), Reason: d.Reason.String()}
	}
	p.Flag = flagWords(l.policy.Decide(&pkt, portrules.Env{}).Flags)
	p.New = exit()
	pkt.SYN = false
	p.Unknown = exit()
	has = true
	p.Existing = exit()
	return p
}

func flagWords(f portrules.Flags) string {
	switch {
	case f&portrules.Own != 0 && f&portrules.Foreign != 0:
		return "own, foreign-held"
	case f&portrules.Own != 0:
		return "own"
	case f&portrules.Residual != 0:
		return "residual"
	}
	return "none"
}

// look adds what the host's sockets say. There may be many: not for the loop.
func look(p *control.Part, r control.ExplainRequest, nat bool) {
	protocol := transportOf(r.Protocol)
	if protocol == 0 || protocol == portrules.SCTP { // nobody lists sockets of SCTP
		return
	}
	if listeners, err := sockets.Listeners(); err == nil {
		p.Listens = "no"
		if slices.ContainsFunc(listeners, func(l sockets.Listener) bool { return l.Takes(r.VIP, protocol, r.Port) }) {
			p.Listens = "yes"
		}
	}
	if protocol != portrules.TCP {
		return
	}
	conns, err := connections([]netip.Addr{r.VIP}, nat)
	if err != nil {
		return
	}
	for _, c := range conns {
		if c.Local.Port() != r.Port {
			continue
		}
		if c.NAT && p.Listens != "" {
			p.Listens = "nat"
		}
		if c.Remote.Addr() == r.Client && (r.ClientPort == 0 || r.ClientPort == c.Remote.Port()) {
			p.Connections++
		}
	}
}
