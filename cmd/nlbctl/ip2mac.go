package main

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/nlbhash"
)

// addresses are all that is derived from one virtual IP.
type addresses struct {
	IP        netip.Addr  `json:"ip"`
	Unicast   string      `json:"unicast"`
	Multicast string      `json:"multicast"`
	IGMP      string      `json:"igmp"`
	IGMPGroup netip.Addr  `json:"igmp_group"`
	Members   []memberMAC `json:"members"`
}

type memberMAC struct {
	Priority uint8  `json:"priority"`
	MAC      string `json:"mac"`
}

func (c *cli) ip2mac() *cobra.Command {
	return &cobra.Command{
		Use:   "ip2mac IP",
		Short: "Show the MAC addresses and the IGMP group that derive from a virtual IP",
		Args:  exactly("IP"),

		ValidArgsFunction: c.completeVIPs,
		RunE: func(_ *cobra.Command, args []string) error {
			ip, err := netip.ParseAddr(args[0])
			if err != nil || ip.Zone() != "" {
				return usageError{fmt.Errorf("%q is not an address: write one such as 192.0.2.10", args[0])}
			}
			a := derive(ip.Unmap())
			return c.print(a, func(w io.Writer) { addressTable(w, a) })
		},
	}
}

func derive(ip netip.Addr) addresses {
	a := addresses{
		IP:        ip,
		Unicast:   l2.ClusterMAC(config.Unicast, ip).String(),
		Multicast: l2.ClusterMAC(config.Multicast, ip).String(),
		IGMP:      l2.ClusterMAC(config.IGMP, ip).String(),
		IGMPGroup: l2.IGMPGroup(ip),
	}
	for p := uint8(1); p <= nlbhash.MaxPriority; p++ {
		a.Members = append(a.Members, memberMAC{p, l2.MemberMAC(p, ip).String()})
	}
	return a
}

func addressTable(w io.Writer, a addresses) {
	first, last := a.Members[0], a.Members[len(a.Members)-1]
	columns(w, [][]cell{
		{text("Virtual IP"), text(a.IP)},
		{text("Unicast"), text(a.Unicast)},
		{text("Multicast"), text(a.Multicast)},
		{text("IGMP"), text(a.IGMP), text("group " + a.IGMPGroup.String())},
		{text("Members"), text(first.MAC), text(fmt.Sprintf("priority %d", first.Priority))},
		{text("  to"), text(last.MAC), text(fmt.Sprintf("priority %d", last.Priority))},
	})
}
