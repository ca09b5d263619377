package agent

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/opennlb/opennlb/l2"
)

// taken is the error of a VIP that a host outside the cluster has. A member that has been in
// the cluster before goes by it only when it finds no others: by its disk it may know no better.
// While it was away the mode may have changed, and with it the cluster MAC; or the VIP may have
// been removed and given to that host. And who claims a VIP that others serve must not keep
// members from coming back.
func taken(c conflict) error {
	return fmt.Errorf("VIP %s is in use by %s, which is not of this cluster: remove the address there, or choose another VIP", c.vip, c.mac)
}

// isForeign is false where the owner may be the cluster with another MAC.
func (c conflict) isForeign() bool { return !l2.IsClusterMAC(c.mac) }

// foreignOwners asks for all VIPs at once, since each takes up to 600 ms, and returns
// those that a host with none of macs has, in their order. The last of macs is the cluster's.
func foreignOwners(ctx context.Context, vips []netip.Addr, iface *l2.Interface, macs []net.HardwareAddr) ([]conflict, error) {
	found := make([]conflict, len(vips))
	group, ctx := errgroup.WithContext(ctx)
	for i, vip := range vips {
		group.Go(func() error {
			mac, _, err := l2.Probe(ctx, iface, vip, macs[len(macs)-1], l2.QuickProbe())
			found[i] = conflict{vip: vip, mac: mac}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(c conflict) bool {
		return c.mac == nil || slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return bytes.Equal(m, c.mac) })
	}), nil
}
