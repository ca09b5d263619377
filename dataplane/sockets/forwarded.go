package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// Status bits (linux/netfilter/nf_conntrack_common.h) and an attribute of
// nfnetlink_conntrack.h.
const (
	ipsSeenReply  = 1 << 1
	ipsDstNAT     = 1 << 5
	ctaStatusMask = 26
)

// Forwarded lists the TCP connections from clients to a VIP that the kernel passes
// on to another address, such as that of a container, in the calling thread's
// network namespace: those that bpf/nat.h finds. They have no socket on this host.
func Forwarded(vips []netip.Addr) ([]Conn, error) {
	var out []Conn
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := ConntrackRequest(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family)
		// The table may be large: the kernel sends only what is behind NAT. (Linux 5.17)
		want := nl.BEUint32Attr(ipsDstNAT | ipsSeenReply)
		req.AddData(nl.NewRtAttr(nl.CTA_STATUS, want))
		req.AddData(nl.NewRtAttr(ctaStatusMask, want))
		messages, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return nil, fmt.Errorf("list connections behind NAT: %w", err)
		}
		for _, m := range messages {
			if c, ok := parseForwarded(m); ok && slices.Contains(vips, c.Local.Addr()) {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// ProbeForwarded asks the connection table for its size. That the kernel loads the
// module with it matters: the programs are bound to the module once, and the first
// container may start after nlbd.
func ProbeForwarded() error {
	const getStats = 5 // IPCTNL_MSG_CT_GET_STATS
	req := ConntrackRequest(getStats, unix.NLM_F_ACK, unix.AF_UNSPEC)
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		return fmt.Errorf("ask for the connection table: %w", err)
	}
	return nil
}

// ConntrackRequest begins a request about the connection table. (linux/netfilter/nfnetlink_conntrack.h)
func ConntrackRequest(operation, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// killForwarded deletes the entry of a connection. Its next segment finds none, and
// draws a reset from whoever owns the bucket then.
func killForwarded(c Conn) error {
	family := uint8(unix.AF_INET)
	if c.Local.Addr().Is6() {
		family = unix.AF_INET6
	}
	req := ConntrackRequest(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, family)
	req.AddData(Tuple(nl.CTA_TUPLE_ORIG, portrules.Flow{Src: c.Remote, Dst: c.Local}))
	req.AddData(nl.NewRtAttr(nl.CTA_ID, nl.BEUint32Attr(uint32(c.Cookie))))
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end connection of %v behind NAT: %w", c.Remote, err)
	}
	return nil
}

// Tuple is an attribute that names one direction of a TCP connection.
func Tuple(kind int, flow portrules.Flow) *nl.RtAttr {
	source, destination := nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if flow.Src.Addr().Is6() {
		source, destination = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	out := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	ip := out.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(source, flow.Src.Addr().AsSlice())
	ip.AddRtAttr(destination, flow.Dst.Addr().AsSlice())
	proto := out.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(unix.IPPROTO_TCP))
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(flow.Src.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(flow.Dst.Port()))
	return out
}

// parseForwarded reads an entry of the connection table, and false unless it is what
// is_served of bpf/nat.h wants.
func parseForwarded(b []byte) (c Conn, ok bool) {
	if len(b) < nl.SizeofNfgenmsg {
		return Conn{}, false
	}
	entry := attributes(b[nl.SizeofNfgenmsg:])
	const want = ipsDstNAT | ipsSeenReply
	if bigEndian(entry[nl.CTA_STATUS])&want != want {
		return Conn{}, false
	}
	tcp := attributes(attributes(entry[nl.CTA_PROTOINFO])[nl.CTA_PROTOINFO_TCP])
	state := bigEndian(tcp[nl.CTA_PROTOINFO_TCP_STATE])
	if state < nl.TCP_CONNTRACK_SYN_RECV || state > nl.TCP_CONNTRACK_LAST_ACK {
		return Conn{}, false
	}
	ends := attributes(entry[nl.CTA_TUPLE_ORIG])
	ip, proto := attributes(ends[nl.CTA_TUPLE_IP]), attributes(ends[nl.CTA_TUPLE_PROTO])
	end := func(addr4, addr6, port uint16) netip.AddrPort {
		addr, ok := netip.AddrFromSlice(ip[addr4])
		if !ok {
			addr, _ = netip.AddrFromSlice(ip[addr6])
		}
		return netip.AddrPortFrom(addr, uint16(bigEndian(proto[port])))
	}
	return Conn{
		Remote: end(nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT),
		Local:  end(nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT),
		State:  uint8(state),
		NAT:    true,
		Cookie: uint64(bigEndian(entry[nl.CTA_ID])),
	}, true
}

// attributes splits netlink attributes by type, nested or not. (netlink(7))
func attributes(b []byte) map[uint16][]byte {
	out := make(map[uint16][]byte)
	for len(b) >= nl.SizeofNfattr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < nl.SizeofNfattr || length > len(b) {
			break
		}
		out[binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK] = b[nl.SizeofNfattr:length]
		b = b[min(len(b), (length+3)&^3):]
	}
	return out
}

// bigEndian reads a number of 1, 2 or 4 bytes; none is 0.
func bigEndian(b []byte) (n uint32) {
	for _, digit := range b[:min(len(b), 4)] {
		n = n<<8 | uint32(digit)
	}
	return n
}
