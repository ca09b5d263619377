package afpacket

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// device is the interface whose frames the engine judges.
type device struct {
	name  string
	index int
	mac   net.HardwareAddr
}

func findDevice(name string) (device, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
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
