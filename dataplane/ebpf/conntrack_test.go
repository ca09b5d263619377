package ebpf

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
)

// Attributes of nfnetlink_conntrack.h.
const (
	ipsSeenReply  = 1 << 1 // nf_conntrack_common.h
	ipsConfirmed  = 1 << 3 // every entry has it
	ctaNATDst     = 13
	ctaNATv4Min   = 1
	ctaNATv6Min   = 4
	ctaNATProto   = 3
	ctaNATPortMin = 1
)

// entry is what a connection table says of a TCP connection. The zero value is of one
// that is established.
type entry struct {
	state      uint8 // 0: established
	plain      bool  // without NAT
	unanswered bool
}

var (
	container4 = netip.MustParseAddrPort("172.17.0.2:8080")
	container6 = netip.MustParseAddrPort("[fd00:17::2]:8080")
)

// enterEntry puts a TCP connection into the connection table of the network
// namespace, and returns a function that takes it out.
func enterEntry(t testing.TB, flow portrules.Flow, e entry) (end func()) {
	t.Helper()
	family, container, minimum := uint8(unix.AF_INET), container4, ctaNATv4Min
	if flow.Dst.Addr().Is6() {
		family, container, minimum = unix.AF_INET6, container6, ctaNATv6Min
	}
	if e.state == 0 {
		e.state = nl.TCP_CONNTRACK_ESTABLISHED
	}
	req := sockets.ConntrackRequest(nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, family)
	req.AddData(sockets.Tuple(nl.CTA_TUPLE_ORIG, flow))
	req.AddData(sockets.Tuple(nl.CTA_TUPLE_REPLY, portrules.Flow{Src: flow.Dst, Dst: flow.Src}))
	req.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(600)))
	if !e.unanswered {
		req.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(ipsSeenReply|ipsConfirmed)))
	}
	info := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO, nil)
	info.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO_TCP, nil).AddRtAttr(nl.CTA_PROTOINFO_TCP_STATE, nl.Uint8Attr(e.state))
	req.AddData(info)
	if !e.plain {
		nat := nl.NewRtAttr(unix.NLA_F_NESTED|ctaNATDst, nil)
		nat.AddRtAttr(minimum, container.Addr().AsSlice())
		nat.AddRtAttr(unix.NLA_F_NESTED|ctaNATProto, nil).AddRtAttr(ctaNATPortMin, nl.BEUint16Attr(container.Port()))
		req.AddData(nat)
	}
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		t.Fatalf("enter %v %+v into the connection table: %v", flow, e, err)
	}
	return func() {
		req := sockets.ConntrackRequest(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, family)
		req.AddData(sockets.Tuple(nl.CTA_TUPLE_ORIG, flow))
		if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
			t.Errorf("take %v out of the connection table: %v", flow, err)
		}
	}
}
