package lab

import (
	"fmt"
	"net"
	"net/netip"
)

// perNet is how many clients share a /24 (and a /64), so that a few hundred of
// them already are many networks, for affinity network.
const perNet = 20

// VIP and VIP6 are the cluster's addresses.
var (
	VIP  = netip.MustParseAddr("10.77.0.100")
	VIP6 = netip.MustParseAddr("fd77::100")
)

func memberAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}) }

func memberAddr6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd77::%x", i+1))
}

// gateway is the client host's own address. The members route to all clients
// through it, which keeps the kernel's neighbour table, shared by all namespaces
// and limited to 1024 entries, small.
const (
	gateway  = "10.77.0.250"
	gateway6 = "fd77::fa"
)

// clientAddr is the address of client i: 10.77.1.1 to 10.77.1.20, 10.77.2.1 ...
func clientAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(1 + i/perNet), byte(1 + i%perNet)})
}

// clientAddr6 is fd77:0:0:1::1 to fd77:0:0:1::14, fd77:0:0:2::1 ...
func clientAddr6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd77:0:0:%x::%x", 1+i/perNet, 1+i%perNet))
}

// nicMAC is the MAC address of eth0: of member i, or of the client host for -1.
func nicMAC(i int) net.HardwareAddr { return net.HardwareAddr{0x0a, 0x77, 0, 0, 0, byte(i + 1)} }
