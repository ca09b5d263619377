package l2

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddVIP puts the VIP on the loopback interface, so that the kernel accepts
// packets to it and yet never chooses it for the host's own traffic: IPv4 with
// scope host, IPv6 deprecated from the start (RFC 6724, rule 3) and without
// duplicate address detection. It stays until RemoveVIP, and adding it again
// changes nothing.
//
// With the VIP there, the kernel answers ARP for it: attach the data plane, which
// keeps ARP from the kernel, before.
//
// Beside an IPv6 VIP the interface needs a global IPv6 address of its own: where
// there is only a link-local one, the kernel prefers the deprecated VIP for
// destinations beyond the segment (sysctl net.ipv6.conf.IFACE.use_oif_addrs_only
// stops that).
func (i *Interface) AddVIP(vip netip.Addr) error {
	lo, err := i.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		if err := i.nl.LinkSetUp(lo); err != nil {
			return fmt.Errorf("bringing up lo: %w", hint(err))
		}
	}
	found, err := i.findVIP(vip)
	if err != nil {
		return err
	}
	if found != nil && found.LinkIndex != lo.Attrs().Index {
		return fmt.Errorf("VIP %s is already an address of %s: remove it there, a VIP cannot be a dedicated IP too",
			vip, i.linkName(found.LinkIndex))
	}
	want := vipAddr(vip, lo.Attrs().Index)
	if found != nil && sameVIP(found, want) {
		return nil
	}
	if found != nil { // put there by hand, and so a possible source address
		if err := i.nl.AddrDel(nil, found); err != nil {
			return fmt.Errorf("replacing address %s of lo: %w", found.IPNet, hint(err))
		}
	}
	if err := i.nl.AddrAdd(nil, want); err != nil && !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.EACCES) { // addrconf: IPv6 disabled
			return fmt.Errorf("adding VIP %s to lo: %w (IPv6 is disabled: set sysctl net.ipv6.conf.lo.disable_ipv6 and that of %s to 0)", vip, err, i.Name)
		}
		return fmt.Errorf("adding VIP %s to lo: %w", vip, hint(err))
	}
	return nil
}

// RemoveVIP undoes AddVIP. Removing an absent VIP, or one that is on another
// interface, does nothing.
func (i *Interface) RemoveVIP(vip netip.Addr) error {
	lo, err := i.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	err = i.nl.AddrDel(nil, vipAddr(vip, lo.Attrs().Index))
	if err == nil || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return fmt.Errorf("removing VIP %s from lo: %w", vip, hint(err))
}

// HasVIP reports whether the VIP is on the loopback interface as AddVIP puts it, and on no other.
func (i *Interface) HasVIP(vip netip.Addr) (bool, error) {
	lost, err := i.LostVIPs([]netip.Addr{vip})
	return len(lost) == 0, err
}

// LostVIPs returns those for which HasVIP is false.
func (i *Interface) LostVIPs(vips []netip.Addr) (lost []netip.Addr, err error) {
	lo, err := i.nl.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("finding the loopback interface: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return i.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, vip := range vips {
		want, on, other := vipAddr(vip, lo.Attrs().Index), false, false
		for _, a := range addrs {
			if a.IP.Equal(want.IP) {
				on = on || sameVIP(&a, want)
				other = other || a.LinkIndex != want.LinkIndex
			}
		}
		if !on || other {
			lost = append(lost, vip)
		}
	}
	return lost, nil
}

// findVIP returns the address on whatever interface it is, preferring one other
// than the loopback interface, or nil.
func (i *Interface) findVIP(vip netip.Addr) (*netlink.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return i.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var found *netlink.Addr
	for _, a := range addrs {
		if !a.IP.Equal(vip.AsSlice()) {
			continue
		}
		if i.linkName(a.LinkIndex) != "lo" {
			return &a, nil
		}
		found = &a
	}
	return found, nil
}

func (i *Interface) linkName(index int) string {
	link, err := i.nl.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return link.Attrs().Name
}

// vipAddr is the VIP as it should be on the loopback interface.
func vipAddr(vip netip.Addr, index int) *netlink.Addr {
	bits := vip.BitLen()
	addr := &netlink.Addr{
		IPNet:     &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		LinkIndex: index,
		Scope:     unix.RT_SCOPE_HOST,
	}
	if vip.Is6() {
		addr.Scope = unix.RT_SCOPE_UNIVERSE
		addr.Flags = unix.IFA_F_NODAD
		addr.ValidLft = math.MaxUint32 // forever
		addr.PreferedLft = 0           // deprecated
	}
	return addr
}

func sameVIP(have, want *netlink.Addr) bool {
	if have.LinkIndex != want.LinkIndex || !have.Equal(*want) {
		return false
	}
	if want.IP.To4() != nil {
		return have.Scope == want.Scope
	}
	return have.Flags&unix.IFA_F_DEPRECATED != 0
}
