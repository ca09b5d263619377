package sockets

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// Listener is a socket of this host that takes packets from any client: a TCP
// listener, or a UDP socket that is not connected.
type Listener struct {
	Local    netip.AddrPort // an unspecified address takes all of its IP version
	Protocol portrules.Protocol
	IPv6Only bool // [::] does not take IPv4
}

// Takes reports whether the socket gets what is sent to a port of a VIP. protocol is
// TCP or UDP.
func (l Listener) Takes(vip netip.Addr, protocol portrules.Protocol, port uint16) bool {
	if l.Protocol != protocol || l.Local.Port() != port {
		return false
	}
	local := l.Local.Addr()
	if local.IsUnspecified() {
		return local.Is4() == vip.Is4() || local.Is6() && !l.IPv6Only
	}
	return local == vip
}

// skV6Only is INET_DIAG_SKV6ONLY, and messageLength that of struct inet_diag_msg
// (linux/inet_diag.h).
const (
	skV6Only      = 11
	messageLength = messageID + idLength + 20
)

// Listeners lists the sockets of the calling thread's network namespace. Services
// behind NAT, such as containers, have none here. (sock_diag(7))
func Listeners() ([]Listener, error) {
	var out []Listener
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, p := range []struct {
			name     portrules.Protocol
			protocol uint8
			states   uint32
		}{
			{portrules.TCP, unix.IPPROTO_TCP, 1 << tcpListen},
			{portrules.UDP, unix.IPPROTO_UDP, 1 << tcpClose},
		} {
			req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(diagRequest{family: family, protocol: p.protocol, states: p.states})
			messages, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
			if err != nil {
				return nil, fmt.Errorf("list listening %v sockets: %w: needs a kernel with CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG", p.name, err)
			}
			for _, m := range messages {
				l, err := parseListener(m)
				if err != nil {
					return nil, err
				}
				l.Protocol = p.name
				out = append(out, l)
			}
		}
	}
	return out, nil
}

func parseListener(b []byte) (Listener, error) {
	conn, err := parseConn(b)
	if err != nil {
		return Listener{}, err
	}
	l := Listener{Local: conn.Local}
	if len(b) <= messageLength {
		return l, nil
	}
	attributes, err := nl.ParseRouteAttr(b[messageLength:])
	if err != nil {
		return l, fmt.Errorf("read list of sockets: %w", err)
	}
	for _, a := range attributes {
		if a.Attr.Type == skV6Only && len(a.Value) > 0 {
			l.IPv6Only = a.Value[0] != 0
		}
	}
	return l, nil
}
