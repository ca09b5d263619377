package portrules

import "net/netip"

// Ports of the services that set up tunnels, whose packets have none: PPTP (RFC 2637),
// IKE, and IKE behind NAT (RFC 7296).
const (
	portPPTP   = 1723
	portIKE    = 500
	portIKENAT = 4500
)

// transport returns what rules call an IP protocol with ports, 0 for one without.
func transport(protocol uint8) Protocol {
	switch protocol {
	case ProtoTCP:
		return TCP
	case ProtoUDP:
		return UDP
	case ProtoSCTP:
		return SCTP
	}
	return 0
}

// isTunnel knows the protocols without ports that belong to a service with some.
func isTunnel(protocol uint8) bool {
	return protocol == ProtoGRE || protocol == ProtoESP || protocol == ProtoAH
}

// service returns the protocol of the rules that a packet is subject to.
func service(protocol uint8) Protocol {
	switch protocol {
	case ProtoGRE:
		return TCP
	case ProtoESP, ProtoAH:
		return UDP
	}
	return transport(protocol)
}

// find returns the index of the rule of a packet, or -1. Tunnels are found by the
// service that sets them up, so that a client meets the same member in both.
func (p *Policy) find(vip netip.Addr, protocol uint8, port uint16) int {
	switch protocol {
	case ProtoGRE:
		return p.Lookup(vip, TCP, portPPTP)
	case ProtoESP, ProtoAH:
		if rule := p.Lookup(vip, UDP, portIKE); rule >= 0 {
			return rule
		}
		return p.Lookup(vip, UDP, portIKENAT)
	}
	return p.Lookup(vip, transport(protocol), port)
}
