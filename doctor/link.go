package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func (f *Facts) readAddresses() {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		f.gap("the addresses", err)
		return
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		f.gap("the interfaces", err)
		return
	}
	f.Addresses = []Address{}
	for _, a := range addrs {
		i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == a.LinkIndex })
		addr, ok := netip.AddrFromSlice(a.IP)
		if i < 0 || !ok {
			continue
		}
		l := links[i].Attrs()
		bits, _ := a.Mask.Size()
		f.Addresses = append(f.Addresses, Address{
			Interface: l.Name,
			Prefix:    netip.PrefixFrom(addr.Unmap(), bits),
			Dynamic:   a.Flags&unix.IFA_F_PERMANENT == 0,
			Up:        l.Flags&net.FlagUp != 0 && l.EncapType == "ether",
		})
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		f.gap("the routes", err)
		return
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		for _, l := range links {
			if l.Attrs().Index == r.LinkIndex {
				f.Routes = append(f.Routes, l.Attrs().Name)
			}
		}
	}
}

func (f *Facts) readLink(name string) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		err = fmt.Errorf("there is no interface %s", name)
	}
	if err != nil {
		f.LinkErr = err
		return
	}
	a := link.Attrs()
	l := &Link{
		Name: name, Kind: link.Type(), Ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6, Up: a.Flags&net.FlagUp != 0,
		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, Promisc: a.Promisc > 0, MTU: a.MTU, MAC: a.HardwareAddr, LRO: hasLRO(name),
	}
	if m, ok := link.(*netlink.Macvlan); ok {
		l.Passthru = m.Mode == netlink.MACVLAN_MODE_PASSTHRU
	}
	links, _ := dump(netlink.LinkList) // the names only help
	for _, other := range links {
		o := other.Attrs()
		if o.Name != "lo" {
			l.Others = append(l.Others, o.Name)
		}
		if o.Index == a.MasterIndex && slices.Contains([]string{"bridge", "bond", "team", "openvswitch"}, other.Type()) {
			l.Master = o.Name
		}
	}
	entries, err := dump(func() ([]netlink.Neigh, error) { return netlink.NeighList(a.Index, unix.AF_BRIDGE) })
	if err != nil {
		f.gap("the MAC addresses that "+name+" accepts", err)
	}
	for _, e := range entries {
		if e.Flags&netlink.NTF_SELF != 0 || e.MasterIndex == a.Index { // the latter on a bridge
			l.Filter = append(l.Filter, e.HardwareAddr)
		}
	}
	f.Link = l
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

// readSysctl reads the settings that checks want, of this network namespace.
func (f *Facts) readSysctl() {
	names := []string{"all", "lo", f.Config.Member.Interface}
	for _, a := range f.Addresses {
		names = append(names, a.Interface)
	}
	for _, name := range names {
		if strings.ContainsAny(name, "/") {
			continue
		}
		for _, setting := range []string{"ipv4/conf/%s/rp_filter", "ipv4/conf/%s/arp_ignore", "ipv6/conf/%s/disable_ipv6"} {
			key := fmt.Sprintf(setting, name)
			text, err := os.ReadFile("/proc/sys/net/" + key)
			if err == nil { // without IPv6 there is none
				f.Sysctl[key] = strings.TrimSpace(string(text))
			}
		}
	}
}

// hasLRO asks by ETHTOOL_GFLAGS (linux/ethtool.h): false also where it is not answered.
func hasLRO(name string) bool {
	const (
		getFlags = 0x25
		flagLRO  = 1 << 15
	)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: getFlags}
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	return errno == 0 && value.data&flagLRO != 0
}
