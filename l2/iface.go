package l2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is an open handle on the interface that faces the segment. It
// describes the interface as it was when opened: after the interface was
// recreated (see Watch), open a new one. Not safe for concurrent use.
type Interface struct {
	Name  string
	Index int
	MAC   net.HardwareAddr // the interface's own address, never the cluster MAC
	MTU   int              // bytes

	Carrier bool

	link netlink.Link
	nl   *netlink.Handle
	held map[string]*packet.Conn // MAC -> socket that holds it, see AddMAC
}

// OpenInterface opens the interface with this name in the current network
// namespace. It must be Ethernet, up, and not a port of a bridge or bond.
func OpenInterface(name string) (*Interface, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	link, err := findLink(nl, name)
	if err != nil {
		nl.Close()
		return nil, err
	}
	a := link.Attrs()
	return &Interface{
		Name:  a.Name,
		Index: a.Index,
		MAC:   a.HardwareAddr,
		MTU:   a.MTU,

		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,

		link: link,
		nl:   nl,
		held: map[string]*packet.Conn{},
	}, nil
}

// OpenLeftovers opens the interface for nothing but RemoveVIP and RemoveMAC: it may be down, a
// port of a bridge, or gone, as after a death everything may be.
func OpenLeftovers(name string) (*Interface, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	i := &Interface{Name: name, nl: nl}
	link, err := nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return i, nil
	}
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("finding interface %s: %w", name, err)
	}
	i.Index, i.link = link.Attrs().Index, link
	return i, nil
}

// Close releases the handle. MAC addresses and VIPs stay, apart from MAC
// addresses that only a socket could hold (see AddMAC).
func (i *Interface) Close() error {
	for mac, conn := range i.held {
		conn.Close()
		delete(i.held, mac)
	}
	i.nl.Close()
	return nil
}

// Address returns the interface's first IPv4 address: the member's dedicated IP
// unless the configuration names another.
func (i *Interface) Address() (netip.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return i.nl.AddrList(i.link, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of %s: %w", i.Name, err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no IPv4 address: give it one, or set member.address", i.Name)
}

// netInterface is what packages built on net.Interface need of it.
func (i *Interface) netInterface() *net.Interface {
	return &net.Interface{Index: i.Index, Name: i.Name, MTU: i.MTU, HardwareAddr: i.MAC}
}

func findLink(nl *netlink.Handle, name string) (netlink.Link, error) {
	link, err := nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, fmt.Errorf("interface %q does not exist: set member.interface to one of %s", name, linkNames(nl))
	}
	if err != nil {
		return nil, fmt.Errorf("finding interface %s: %w", name, err)
	}
	a := link.Attrs()
	if a.EncapType != "ether" || len(a.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s is %s, not Ethernet: set member.interface to the one that faces the segment", name, a.EncapType)
	}
	if a.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("interface %s is down: run ip link set %s up", name, name)
	}
	if master := portOf(nl, a.MasterIndex); master != "" {
		return nil, fmt.Errorf("interface %s is a port of %s, which holds the IP addresses: set member.interface to %s", name, master, master)
	}
	return link, nil
}

// portOf returns the name of the bridge or bond with this index, "" for any
// other master, such as a VRF, and for none.
func portOf(nl *netlink.Handle, index int) string {
	if index == 0 {
		return ""
	}
	master, err := nl.LinkByIndex(index)
	if err != nil {
		return ""
	}
	switch master.Type() {
	case "bridge", "bond", "team", "openvswitch":
		return master.Attrs().Name
	}
	return ""
}

func linkNames(nl *netlink.Handle) string {
	links, _ := dump(nl.LinkList) // the list only helps the operator
	var names []string
	for _, l := range links {
		if l.Attrs().Name != "lo" {
			names = append(names, l.Attrs().Name)
		}
	}
	return strings.Join(names, ", ")
}

// dump repeats a netlink dump that a change meanwhile left incomplete.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 10 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// hint adds what to do about a missing privilege.
func hint(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (needs CAP_NET_ADMIN and CAP_NET_RAW: run as root)", err)
	}
	return err
}
