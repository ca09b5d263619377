package lab

import (
	"context"
	"fmt"
	"strings"
)

// Both ends of the cable between a member and its container.
const (
	containerSide  = "172.31.0.2"
	containerSide6 = "fd31::2"
	memberSide     = "172.31.0.1"
	memberSide6    = "fd31::1"
)

// AddContainer puts a host of its own behind a member, which passes to it what
// clients send to these TCP ports of the VIPs, as Docker does for published ports.
// It has the member's name, so that its servers answer in that.
func (m *Member) AddContainer(ctx context.Context, ports ...uint16) (*Host, error) {
	box, err := m.lab.newHost(m.Name, "")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := m.ns.Sysctl(name, "1"); err != nil {
			return nil, err
		}
	}
	err = m.ip(ctx, fmt.Sprintf(`
link add box0 type veth peer name eth0 netns %s
addr add %s/24 dev box0
addr add %s/64 dev box0 nodad
link set box0 up`, box.ns.Path(), memberSide, memberSide6))
	if err != nil {
		return nil, err
	}
	err = box.ip(ctx, fmt.Sprintf(`
link set lo up
link set eth0 up
addr add %s/24 dev eth0
addr add %s/64 dev eth0 nodad
route add default via %s
route add default via %s`, containerSide, containerSide6, memberSide, memberSide6))
	if err != nil {
		return nil, err
	}
	_, err = m.runInput(ctx, publish(ports), "nft", "-f", "-")
	return box, err
}

// publish is the rule set of a member with a container.
func publish(ports []uint16) string {
	list := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ports)), ","), "[]")
	return fmt.Sprintf(`table inet container {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr %[1]s tcp dport { %[2]s } dnat ip to %[3]s
		ip6 daddr %[4]s tcp dport { %[2]s } dnat ip6 to %[5]s
	}
}
`, VIP, list, containerSide, VIP6, containerSide6)
}
