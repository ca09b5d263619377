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

// probe makes sure that no host outside the cluster has a VIP. The last of macs is what
// this member takes for the cluster's. That it may be wrong about, when it was away while
// the mode or the VIPs changed: doubt is then an error that counts unless this member finds
// the others.
func probe(ctx context.Context, vips []netip.Addr, iface *l2.Interface, macs []net.HardwareAddr) (doubt, err error) {
	taken, err := foreignOwners(ctx, vips, iface, macs)
	if err != nil {
		return nil, err
	}
	for _, c := range taken {
		err := fmt.Errorf("VIP %s is in use by %s, which is not of this cluster: remove the address there, or choose another VIP", c.vip, c.mac)
		if !l2.IsClusterMAC(c.mac) {
			return nil, err
		}
		doubt = err
	}
	return doubt, nil
}

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
