package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// Remote is a host beyond a router: the client host forwards for it.
type Remote struct {
	*Host
	Addrs, Addrs6 []netip.Addr // routed to it
}

const (
	routerSide  = "172.31.1.1"
	routerSide6 = "fd31:1::1"
	remoteSide  = "172.31.1.2"
	remoteSide6 = "fd31:1::2"
)

// AddRemote puts a host with n addresses (1 to 200) of each family behind the client
// host. What is longer than mtu does not fit on the way to it, which the host itself
// does not know: its own interface takes 1500 bytes, so it asks for as much.
func (c *Client) AddRemote(ctx context.Context, n, mtu int) (*Remote, error) {
	h, err := c.lab.newHost("remote", "")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := c.ns.Sysctl(name, "1"); err != nil {
			return nil, err
		}
	}
	err = c.ip(ctx, fmt.Sprintf(`
link add far0 mtu %d type veth peer name eth0 mtu 1500 netns %s
addr add %s/24 dev far0
addr add %s/64 dev far0 nodad
link set far0 up
route add 10.77.250.0/24 via %s
route add fd77:0:0:250::/64 via %s dev far0`, mtu, h.ns.Path(), routerSide, routerSide6, remoteSide, remoteSide6))
	if err != nil {
		return nil, err
	}
	r := &Remote{Host: h}
	script := fmt.Sprintf(`
link set lo up
link set eth0 up
addr add %s/24 dev eth0
addr add %s/64 dev eth0 nodad
route add default via %s
route add default via %s dev eth0`, remoteSide, remoteSide6, routerSide, routerSide6)
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 77, 250, byte(1 + i)})
		a6 := netip.MustParseAddr(fmt.Sprintf("fd77:0:0:250::%x", 1+i))
		r.Addrs, r.Addrs6 = append(r.Addrs, a), append(r.Addrs6, a6)
		script += fmt.Sprintf("\naddr add %s/32 dev eth0\naddr add %s/128 dev eth0 nodad", a, a6)
	}
	return r, h.ip(ctx, script)
}
