package l2

import (
	"bytes"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
)

// Reason is what became of a frame that reached the Responder.
type Reason uint8

const (
	Ignored   Reason = iota // not about a VIP, or not for this host
	Answered                // asked for a VIP, answered
	Standby                 // asked for a VIP, but another member answers
	OwnClaim                // the cluster itself announces a VIP
	Conflict                // another host claims a VIP
	Malformed               // contradicts itself or its RFC
	NumReasons
)

// String returns the name used in counters and messages.
func (r Reason) String() string {
	names := [NumReasons]string{"ignored", "answered", "standby", "own-claim", "conflict", "malformed"}
	if r >= NumReasons {
		return "unknown"
	}
	return names[r]
}

// identity is what the answers depend on.
type identity struct {
	list       []netip.Addr // the VIPs
	vips       map[netip.Addr]bool
	clusterMAC net.HardwareAddr // what answers say
	sourceMAC  net.HardwareAddr // what answers are sent from
	nicMAC     net.HardwareAddr // accepted as destination beside the cluster MAC
}

// answer is the outcome for one frame.
type answer struct {
	reason Reason
	reply  []byte           // frame to send; nil unless Answered
	vip    netip.Addr       // the VIP asked for or claimed
	mac    net.HardwareAddr // who claims it, for Conflict
}

// answer decides what to do with one Ethernet frame; active says whether this
// member answers for the cluster.
func (id *identity) answer(frame []byte, active bool) answer {
	n, err := parseNeighbor(frame)
	if errors.Is(err, errNotNeighbor) {
		return answer{reason: Ignored}
	}
	if err != nil {
		return answer{reason: Malformed}
	}
	if id.vips[n.owner] {
		return id.claim(n)
	}
	if !n.query || !id.vips[n.target] || !id.forUs(n.etherDst) {
		return answer{reason: Ignored}
	}
	if !active {
		return answer{reason: Standby, vip: n.target}
	}
	reply, err := id.reply(n)
	if err != nil {
		return answer{reason: Malformed}
	}
	return answer{reason: Answered, reply: reply, vip: n.target}
}

// claim judges a frame that says where a VIP is.
func (id *identity) claim(n neighbor) answer {
	if !bytes.Equal(n.ownerMAC, id.clusterMAC) {
		return answer{reason: Conflict, vip: n.owner, mac: n.ownerMAC}
	}
	// Switches learn the cluster MAC from this frame and then send all traffic to
	// one port.
	if bytes.Equal(n.etherSrc, id.clusterMAC) {
		return answer{reason: Conflict, vip: n.owner, mac: n.etherSrc}
	}
	return answer{reason: OwnClaim, vip: n.owner}
}

func (id *identity) forUs(dst net.HardwareAddr) bool {
	return isGroup(dst) || bytes.Equal(dst, id.clusterMAC) || bytes.Equal(dst, id.nicMAC)
}

func (id *identity) reply(n neighbor) ([]byte, error) {
	if n.target.Is4() {
		// RFC 5227: the answer to a probe goes to the prober alone, too.
		return arpFrame(n.sourceMAC, id.sourceMAC, arp.OperationReply, id.clusterMAC, n.target, n.sourceMAC, n.source)
	}
	if n.source.IsUnspecified() { // duplicate address detection: RFC 4861, section 7.2.4
		return id.advertise(groupMAC(allNodes()), allNodes(), n.target, false)
	}
	return id.advertise(n.sourceMAC, n.source, n.target, true)
}

// announce returns the frames that tell the segment where a VIP is: gratuitous
// ARP as request and as reply, since hosts differ in which they believe, or an
// unsolicited advertisement.
func (id *identity) announce(vip netip.Addr) ([][]byte, error) {
	if vip.Is6() {
		frame, err := id.advertise(groupMAC(allNodes()), allNodes(), vip, false)
		return [][]byte{frame}, err
	}
	request, err := arpFrame(broadcast(), id.sourceMAC, arp.OperationRequest, id.clusterMAC, vip, make(net.HardwareAddr, 6), vip)
	if err != nil {
		return nil, err
	}
	reply, err := arpFrame(broadcast(), id.sourceMAC, arp.OperationReply, id.clusterMAC, vip, broadcast(), vip)
	return [][]byte{request, reply}, err
}

// advertise builds a neighbour advertisement. Its IPv6 source is the VIP, as of
// any host that answers for its own address.
func (id *identity) advertise(dst net.HardwareAddr, to, vip netip.Addr, solicited bool) ([]byte, error) {
	return ndpFrame(dst, id.sourceMAC, vip, to, &ndp.NeighborAdvertisement{
		Solicited:     solicited,
		Override:      true,
		TargetAddress: vip,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: id.clusterMAC}},
	})
}

func allNodes() netip.Addr { return netip.IPv6LinkLocalAllNodes() }
