package ebpf

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// checkVLANs refuses XDP on an interface that carries VLAN interfaces. Cards take tags off before
// XDP sees the frame, so that it would drop what is meant for those interfaces, and beacons
// of clusters there; tc is told the tag. One that is added later, or moved to another
// network namespace, is not noticed.
func (d device) checkVLANs() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("look for VLAN interfaces on %s: %w", d.name, err)
	}
	if name := vlanOn(links, d.index); name != "" {
		return fmt.Errorf("%s is a VLAN on %s, and XDP cannot tell its frames", name, d.name)
	}
	return nil
}

// vlanOn returns the name of a VLAN interface on another one, "" if there is none.
func vlanOn(links []netlink.Link, parent int) string {
	for _, l := range links {
		if l.Type() == "vlan" && l.Attrs().ParentIndex == parent {
			return l.Attrs().Name
		}
	}
	return ""
}
