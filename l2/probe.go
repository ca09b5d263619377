package l2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
)

// ProbeTiming says how patiently Probe asks.
type ProbeTiming struct {
	Probes   int           // how many
	Interval time.Duration // wait for an answer after each
}

// QuickProbe asks three times in 600 ms. RFC 5227 takes 5 to 7 seconds, with
// regard for segments that are slow to come up.
func QuickProbe() ProbeTiming { return ProbeTiming{Probes: 3, Interval: 200 * time.Millisecond} }

// Probe asks the segment whether a host other than the cluster owns the VIP,
// with ARP probes (RFC 5227, section 2.1.1) or the solicitations of duplicate
// address detection (RFC 4862, section 5.4.2). It returns that host's MAC; or
// found = false when nobody answers, or the cluster itself does, whose MAC it then
// returns. Its own frames come from the interface's MAC.
func Probe(ctx context.Context, i *Interface, vip netip.Addr, clusterMAC net.HardwareAddr, timing ProbeTiming) (owner net.HardwareAddr, found bool, err error) {
	frame, err := probeFrame(i.MAC, vip)
	if err != nil {
		return nil, false, err
	}
	conn, err := listenNeighbors(i, []netip.Addr{vip})
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	if vip.Is6() {
		if err := conn.JoinGroup(groupMAC(allNodes())); err != nil { // answers go there
			return nil, false, fmt.Errorf("joining all-nodes on %s: %w", i.Name, err)
		}
	}
	wake := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer wake()
	for range timing.Probes {
		if err := send(conn, frame); err != nil {
			return nil, false, fmt.Errorf("probing for %s on %s: %w", vip, i.Name, err)
		}
		owner, err := awaitOwner(ctx, conn, vip, clusterMAC, timing.Interval)
		if err != nil {
			return nil, false, fmt.Errorf("probing for %s on %s: %w", vip, i.Name, err)
		}
		if owner != nil {
			return owner, !bytes.Equal(owner, clusterMAC), nil
		}
	}
	return nil, false, nil
}

// awaitOwner returns the MAC of the first foreign host that claims the VIP
// within wait, else the cluster MAC if that was claimed, else nil.
func awaitOwner(ctx context.Context, conn *packet.Conn, vip netip.Addr, clusterMAC net.HardwareAddr, wait time.Duration) (net.HardwareAddr, error) {
	conn.SetReadDeadline(time.Now().Add(wait))
	var cluster net.HardwareAddr
	buf := make([]byte, snapLen)
	// Asked only now, since setting the deadline undid what the end of ctx set.
	for ctx.Err() == nil {
		size, _, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return cluster, nil
		}
		if err != nil {
			return nil, err
		}
		n, err := parseNeighbor(buf[:size])
		if err != nil || n.owner != vip {
			continue
		}
		if !bytes.Equal(n.ownerMAC, clusterMAC) {
			return slices.Clone(n.ownerMAC), nil
		}
		cluster = clusterMAC
	}
	return nil, ctx.Err()
}

func probeFrame(nic net.HardwareAddr, vip netip.Addr) ([]byte, error) {
	if vip.Is4() {
		return arpFrame(broadcast(), nic, arp.OperationRequest, nic, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), vip)
	}
	group := solicitedNode(vip)
	return ndpFrame(groupMAC(group), nic, netip.IPv6Unspecified(), group, &ndp.NeighborSolicitation{TargetAddress: vip})
}
