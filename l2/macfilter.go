package l2

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddMAC makes the interface accept frames to mac, unicast or multicast, beside
// its own address; "bridge fdb show" lists it. It stays until RemoveMAC, also
// when the process dies, and adding it again changes nothing.
//
// Some drivers refuse such entries (i40e without SR-IOV). There a packet socket
// holds the address, or as the last resort promiscuous mode, until RemoveMAC or
// Close.
//
// In IGMP mode, add the MAC before opening the Reporter and remove it after
// closing it: both count on one entry of the interface's multicast list.
func (i *Interface) AddMAC(mac net.HardwareAddr) error {
	if bytes.Equal(mac, i.MAC) {
		return fmt.Errorf("interface %s has the cluster MAC %s as its own address: restore its own, the cluster MAC is added beside it", i.Name, mac)
	}
	if m, ok := i.link.(*netlink.Macvlan); ok && !isGroup(mac) && m.Mode != netlink.MACVLAN_MODE_PASSTHRU {
		return fmt.Errorf("interface %s is a macvlan, which hears no unicast MAC but its own: use mode multicast or igmp, or a macvlan in passthru mode", i.Name)
	}
	if i.held[mac.String()] != nil {
		return nil
	}
	err := i.nl.NeighSet(i.fdbEntry(mac))
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("adding MAC %s to %s: %w", mac, i.Name, hint(err))
	}
	conn, held := holdMAC(i.netInterface(), mac)
	if held != nil {
		return fmt.Errorf("adding MAC %s to %s: %w", mac, i.Name, errors.Join(err, held))
	}
	i.held[mac.String()] = conn
	return nil
}

// RemoveMAC undoes AddMAC. Removing an absent address is no error.
func (i *Interface) RemoveMAC(mac net.HardwareAddr) error {
	if conn := i.held[mac.String()]; conn != nil {
		delete(i.held, mac.String())
		return conn.Close()
	}
	if i.Index == 0 { // the interface is gone, and its addresses with it
		return nil
	}
	err := i.nl.NeighDel(i.fdbEntry(mac))
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return fmt.Errorf("removing MAC %s from %s: %w", mac, i.Name, hint(err))
}

// HasMAC reports whether the interface accepts mac beside its own address.
func (i *Interface) HasMAC(mac net.HardwareAddr) (bool, error) {
	if i.held[mac.String()] != nil {
		return true, nil
	}
	return i.ListsMAC(mac)
}

// ListsMAC is HasMAC by the kernel's list alone, which does not show what a socket holds.
func (i *Interface) ListsMAC(mac net.HardwareAddr) (bool, error) {
	entries, err := dump(func() ([]netlink.Neigh, error) { return i.nl.NeighList(i.Index, unix.AF_BRIDGE) })
	if err != nil {
		return false, fmt.Errorf("listing MAC addresses of %s: %w", i.Name, err)
	}
	for _, e := range entries {
		// A bridge lists its own addresses as a master does, which it is its own then.
		if bytes.Equal(e.HardwareAddr, mac) && (e.Flags&netlink.NTF_SELF != 0 || e.MasterIndex == i.Index) {
			return true, nil
		}
	}
	return false, nil
}

func (i *Interface) fdbEntry(mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    i.Index,
		Family:       unix.AF_BRIDGE,
		State:        netlink.NUD_PERMANENT,
		Flags:        netlink.NTF_SELF,
		HardwareAddr: mac,
	}
}

// holdMAC makes the interface accept mac for as long as the returned socket is
// open.
func holdMAC(ifi *net.Interface, mac net.HardwareAddr) (*packet.Conn, error) {
	// Protocol 0: the socket receives nothing (packet(7)).
	conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return nil, err
	}
	err = joinMAC(conn, ifi.Index, mac)
	if err != nil {
		err = conn.SetPromiscuous(true)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// joinMAC adds mac to the interface's filter: packet(7), PACKET_ADD_MEMBERSHIP.
func joinMAC(conn *packet.Conn, index int, mac net.HardwareAddr) error {
	if isGroup(mac) {
		return conn.JoinGroup(mac)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_UNICAST, Alen: uint16(len(mac))}
	copy(mreq.Address[:], mac)
	var joined error
	err = raw.Control(func(fd uintptr) {
		joined = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq)
	})
	return errors.Join(err, joined)
}

// isGroup reports whether mac is a multicast or broadcast address.
func isGroup(mac net.HardwareAddr) bool { return len(mac) == 6 && mac[0]&1 != 0 }
