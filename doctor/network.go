package doctor

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/opennlb/opennlb/config"
)

func iface(f *Facts) []Finding {
	l := f.Link
	switch {
	case f.Config == nil:
		return nil
	case l == nil && f.LinkErr != nil:
		return problem(f.LinkErr.Error(), "set member.interface to the interface that faces the clients' segment")
	case l == nil:
		return nil
	case !l.Ethernet:
		return problem(l.Name+" is not Ethernet", "set member.interface to one of "+strings.Join(l.Others, ", "))
	case l.Master != "":
		return problem(l.Name+" is a port of "+l.Master+", which has the IP addresses", "set member.interface to "+l.Master)
	case !l.Up:
		return problem(l.Name+" is down", "run ip link set "+l.Name+" up, and let the system do so at boot")
	case !l.Carrier:
		return problem(l.Name+" has no carrier", "see to the cable and the switch's port")
	case l.Kind == "macvlan" && !l.Passthru && f.Mode() == config.Unicast:
		return problem(l.Name+" is a macvlan, which hears no unicast MAC address but its own", "use mode multicast or igmp, or a macvlan in passthru mode")
	}
	return ok(fmt.Sprintf("%s is up, %s", l.Name, l.MAC))
}

// address: the dedicated IP, and one of each family that has a VIP, for what the host
// itself has to say.
func address(f *Facts) []Finding {
	if f.Config == nil || f.Link == nil {
		return nil
	}
	own := f.Config.Member.Address
	var here []netip.Addr
	for _, a := range f.Addresses {
		if a.Interface == f.Link.Name && !a.Prefix.Addr().IsLinkLocalUnicast() && !slices.Contains(f.VIPs(), a.Prefix.Addr()) {
			here = append(here, a.Prefix.Addr())
		}
	}
	if own.IsValid() && !slices.Contains(here, own) {
		return problem(fmt.Sprintf("%s, the dedicated IP, is not an address of %s", own, f.Link.Name), "run ip address add, or correct member.address")
	}
	if !slices.ContainsFunc(here, netip.Addr.Is4) && !own.IsValid() {
		return problem(f.Link.Name+" has no IPv4 address", "give it one, or set member.address")
	}
	for _, vip := range f.VIPs() {
		if !slices.ContainsFunc(here, func(a netip.Addr) bool { return a.Is4() == vip.Is4() }) {
			return warning(fmt.Sprintf("%s has no address of its own in the family of VIP %s", f.Link.Name, vip), "give it one: the host needs it for its own traffic there")
		}
	}
	return ok("own: " + strings.Join(texts(here), ", "))
}

func mtu(f *Facts) []Finding {
	if f.Link == nil {
		return nil
	}
	var found []Finding
	if slices.ContainsFunc(f.VIPs(), netip.Addr.Is6) && f.Link.MTU < 1280 {
		found = append(found, problem(fmt.Sprintf("MTU of %s is %d, and IPv6 needs 1280", f.Link.Name, f.Link.MTU), fmt.Sprintf("run ip link set %s mtu 1500", f.Link.Name))...)
	}
	for _, r := range f.Reach {
		if r.Echo && !r.Large {
			found = append(found, warning(fmt.Sprintf("%s answers a ping, but none of %d bytes, the MTU of %s", r.title(), f.Link.MTU, f.Link.Name), "give all members, and the switch, the same MTU")...)
		}
	}
	return orOK(found, fmt.Sprint(f.Link.MTU))
}

func lro(f *Facts) []Finding {
	if f.Link == nil || !f.Link.LRO {
		return nil
	}
	return warning(f.Link.Name+" merges segments in hardware (LRO), with which many drivers refuse XDP", fmt.Sprintf("run ethtool -K %s lro off; GRO may stay on", f.Link.Name))
}

// clusterMAC: an address that the interface does not accept is heard of by nobody.
func clusterMAC(f *Facts) []Finding {
	l, mac := f.Link, f.ClusterMAC()
	if l == nil || mac == nil {
		return nil
	}
	if bytes.Equal(l.MAC, mac) {
		return problem(fmt.Sprintf("%s has the cluster MAC %s as its own address", l.Name, mac), "restore its own: nlbd adds the cluster MAC beside it")
	}
	accepted := slices.ContainsFunc(l.Filter, func(a net.HardwareAddr) bool { return bytes.Equal(a, mac) })
	switch {
	case f.Status == nil && accepted:
		return warning(fmt.Sprintf("%s accepts the cluster MAC %s, and no nlbd answers here", l.Name, mac), "start nlbd, or run nlbd --cleanup if it is not to run here any more")
	case f.Status == nil:
		return nil
	case accepted:
		return ok(fmt.Sprintf("%s accepts %s", l.Name, mac))
	case l.Promisc:
		return ok(fmt.Sprintf("%s accepts %s, being promiscuous", l.Name, mac))
	}
	// A packet socket of nlbd may hold it, which no list shows.
	return warning(fmt.Sprintf("%s does not list the cluster MAC %s", l.Name, mac), "look at bridge fdb show dev "+l.Name+"; restart nlbd if somebody removed it")
}

// vips belong on lo, put there by nlbd, and nowhere else.
func vips(f *Facts) []Finding {
	if len(f.VIPs()) == 0 || f.Addresses == nil {
		return nil
	}
	var found []Finding
	onLo := 0
	for _, vip := range f.VIPs() {
		for _, a := range f.Addresses {
			switch {
			case a.Prefix.Addr() != vip:
			case a.Interface == "lo":
				onLo++
			case a.Dynamic:
				found = append(found, problem(fmt.Sprintf("VIP %s is an address of %s, by DHCP or autoconfiguration", vip, a.Interface), "exclude it from what is leased, and renew the lease")...)
			default:
				found = append(found, problem(fmt.Sprintf("VIP %s is an address of %s", vip, a.Interface), fmt.Sprintf("run ip address del %s dev %s, and take it out of the network configuration", a.Prefix, a.Interface))...)
			}
		}
	}
	switch {
	case len(found) > 0:
		return found
	case f.Status == nil && onLo > 0:
		return warning("VIPs are on lo, and no nlbd answers here", "start nlbd, or run nlbd --cleanup if it is not to run here any more")
	case f.Status != nil && onLo < len(f.VIPs()):
		return problem(fmt.Sprintf("%d of %d VIPs are missing on lo, where nlbd puts them", len(f.VIPs())-onLo, len(f.VIPs())), "restart nlbd, and see what else removes addresses of lo")
	case f.Status == nil:
		return ok("free on this host")
	}
	return ok("on lo only: " + strings.Join(texts(f.VIPs()), ", "))
}

func networkSetup(f *Facts) []Finding {
	var found []Finding
	for _, m := range f.Mentions {
		found = append(found, warning(fmt.Sprintf("VIP %s stands in %s", m.VIP, m.File), "take it out there if it is configured as an address: nlbd refuses to start when the host has it")...)
	}
	return found
}

// otherInterfaces: the kernel answers ARP for addresses of lo on any interface, and nlbd
// keeps it from that on its own only.
func otherInterfaces(f *Facts) []Finding {
	if f.Link == nil {
		return nil
	}
	var found []Finding
	for _, a := range f.Addresses {
		if a.Interface == f.Link.Name || !a.Up || !a.Prefix.Addr().Is4() {
			continue
		}
		for _, vip := range f.VIPs() {
			if a.Prefix.Masked().Contains(vip) && a.Prefix.Bits() < 32 && f.sysctl("ipv4/conf", a.Interface, "arp_ignore") == 0 {
				found = append(found, problem(fmt.Sprintf("%s is in the network of VIP %s, too: if it is on that segment, its kernel answers ARP for it", a.Interface, vip),
					fmt.Sprintf("take it off the segment, or run sysctl net.ipv4.conf.%s.arp_ignore=1", a.Interface))...)
			}
		}
	}
	return found
}

// rpFilter: strict filtering drops clients whose way back is by another interface.
func rpFilter(f *Facts) []Finding {
	if f.Link == nil || f.sysctl("ipv4/conf", f.Link.Name, "rp_filter") != 1 || len(f.Routes) == 0 || slices.Contains(f.Routes, f.Link.Name) {
		return nil
	}
	return warning(fmt.Sprintf("rp_filter of %s is strict, and the default route is by %s: clients beyond the segment are dropped", f.Link.Name, strings.Join(f.Routes, ", ")),
		fmt.Sprintf("run sysctl net.ipv4.conf.%s.rp_filter=2 and net.ipv4.conf.all.rp_filter=2, or route by %[1]s", f.Link.Name))
}

func ipv6(f *Facts) []Finding {
	if f.Link == nil || !slices.ContainsFunc(f.VIPs(), netip.Addr.Is6) {
		return nil
	}
	for _, name := range []string{"lo", f.Link.Name} {
		if f.Sysctl["ipv6/conf/"+name+"/disable_ipv6"] != "0" {
			return problem("IPv6 is disabled on "+name+", and there are IPv6 VIPs", "run sysctl net.ipv6.conf."+name+".disable_ipv6=0")
		}
	}
	return nil
}

func texts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
