package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/opennlb/opennlb/control"
)

// buildSwitch makes a bridge that snoops multicast. It must not be a querier: with
// one on the segment, ten seconds after it began, Linux sends IP packets to a
// multicast MAC address only where their IP address was joined, and a VIP never is
// (br_multicast_ipv4_rcv; hardware switches compare MAC addresses).
func (l *Lab) buildSwitch(ctx context.Context) error {
	h, err := l.newHost("switch", "")
	if err != nil {
		return err
	}
	l.Switch = &Switch{Host: h, ports: map[string]string{}}
	// Without IPv6 of its own, the switch is a silent one.
	for _, scope := range []string{"all", "default"} {
		if err := h.ns.Sysctl("net/ipv6/conf/"+scope+"/disable_ipv6", "1"); err != nil {
			return err
		}
	}
	err = h.ip(ctx, `
link set lo up
link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 1 mcast_querier 0
link set br0 up`)
	if err != nil {
		return err
	}
	return l.Switch.buildFilter(ctx)
}

func (l *Lab) buildClient(ctx context.Context) error {
	h, err := l.newHost("client", "client")
	if err != nil {
		return err
	}
	if err := l.cable(ctx, h, nicMAC(-1)); err != nil {
		return err
	}
	l.Client = &Client{Host: h, lab: l}
	// Without this, an ARP request of the host shows one of the client addresses,
	// which the other side would have to answer through the gateway.
	if err := h.ns.Sysctl("net/ipv4/conf/all/arp_announce", "2"); err != nil {
		return err
	}
	if err := h.ns.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
		return err
	}
	var script strings.Builder
	fmt.Fprintf(&script, "addr add %s/24 dev eth0\n", gateway)
	fmt.Fprintf(&script, "addr add %s/64 dev eth0\n", gateway6)
	for i := range l.options.Clients {
		a := clientAddr(i)
		l.Client.Addrs = append(l.Client.Addrs, a)
		fmt.Fprintf(&script, "addr add %s/32 dev eth0\n", a)
		if !l.options.IPv6 {
			continue
		}
		a6 := clientAddr6(i)
		l.Client.Addrs6 = append(l.Client.Addrs6, a6)
		fmt.Fprintf(&script, "addr add %s/128 dev eth0 nodad\n", a6)
	}
	return h.ip(ctx, script.String())
}

func (l *Lab) buildMember(ctx context.Context, i int) error {
	name := fmt.Sprintf("node%d", i+1)
	h, err := l.newHost(name, fmt.Sprintf("m%d", i+1))
	if err != nil {
		return err
	}
	if err := l.cable(ctx, h, nicMAC(i)); err != nil {
		return err
	}
	m := &Member{
		Host: h, lab: l, Priority: i + 1, Addr: memberAddr(i), Addr6: memberAddr6(i),
		Socket: filepath.Join(l.Dir, name+".sock"),
	}
	m.client = control.Dial(m.Socket)
	l.undo.add(func() error { m.client.Close(); return nil })
	l.Members = append(l.Members, m)
	l.undo.add(m.Kill)
	return h.ip(ctx, fmt.Sprintf(`
addr add %s/24 dev eth0
addr add %s/64 dev eth0
route add 10.77.0.0/16 via %s
route add fd77::/48 via %s`, m.Addr, m.Addr6, gateway, gateway6)+l.neighbours(i))
}

// manyMembers is where the neighbours that members have in one another, by IPv4
// alone, come near the kernel's limit of 1024 for all namespaces together.
const manyMembers = 16

// neighbours are permanent entries, which do not count, for all members but i, if
// there are many.
func (l *Lab) neighbours(i int) string {
	if l.options.Members <= manyMembers {
		return ""
	}
	var script strings.Builder
	for k := range l.options.Members {
		if k != i {
			fmt.Fprintf(&script, "\nneigh add %s lladdr %s dev eth0 nud permanent", memberAddr(k), nicMAC(k))
		}
	}
	return script.String()
}

// cable joins eth0 of h to its port of the switch and brings both up.
func (l *Lab) cable(ctx context.Context, h *Host, mac net.HardwareAddr) error {
	h.MAC = mac
	l.Switch.ports[h.Port] = h.Name
	// Duplicate address detection would keep IPv6 addresses unusable for a second.
	for _, scope := range []string{"all", "default"} {
		if err := h.ns.Sysctl("net/ipv6/conf/"+scope+"/accept_dad", "0"); err != nil {
			return err
		}
	}
	err := l.Switch.ip(ctx, fmt.Sprintf(`
link add %[1]s type veth peer name eth0 address %[2]s netns %[3]s
link set %[1]s master br0
link set %[1]s up`, h.Port, mac, h.ns.Path()))
	if err != nil {
		return err
	}
	return h.ip(ctx, "link set lo up\nlink set eth0 up")
}

// ip runs a script of ip(8) commands, one per line, and stops at the first error.
func (h *Host) ip(ctx context.Context, script string) error {
	_, err := h.runInput(ctx, strings.TrimSpace(script)+"\n", "ip", "-batch", "-")
	return err
}
