package ebpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// device is the interface that the programs are attached to.
type device struct {
	name  string
	index int
	mac   net.HardwareAddr
}

// findDevice asks netlink, not /sys/class/net: that shows the network namespace
// in which /sys was mounted.
func findDevice(name string) (device, error) {
	l, err := netlink.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return device{}, fmt.Errorf("interface %q does not exist in this network namespace: see `ip link` and correct member.interface", name)
	}
	if err != nil {
		return device{}, fmt.Errorf("look up interface %q: %w", name, err)
	}
	attrs := l.Attrs()
	if len(attrs.HardwareAddr) != 6 || attrs.EncapType != "ether" {
		return device{}, fmt.Errorf("interface %q is %s, not Ethernet: choose one that has a MAC address", name, attrs.EncapType)
	}
	return device{name: name, index: attrs.Index, mac: attrs.HardwareAddr}, nil
}

// xdpProgram returns the ID of the XDP program on the interface, 0 for none.
func (d device) xdpProgram() (uint32, error) {
	l, err := netlink.LinkByIndex(d.index)
	if err != nil {
		return 0, fmt.Errorf("look up interface %q: %w", d.name, err)
	}
	if xdp := l.Attrs().Xdp; xdp != nil && xdp.Attached {
		return xdp.ProgId, nil
	}
	return 0, nil
}
