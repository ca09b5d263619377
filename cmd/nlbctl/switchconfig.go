package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/l2"
)

// switchRequest is what the flags of switch-config say; what is missing the running
// cluster tells, or stays a placeholder.
type switchRequest struct {
	vips          []string
	mode          string
	vlan          string
	ports, uplink []string
}

// switchConfig is what switch-config prints.
type switchConfig struct {
	Vendor     string       `json:"vendor"`
	Mode       config.Mode  `json:"mode"`
	ClusterMAC string       `json:"cluster_mac"`
	VIPs       []netip.Addr `json:"vips"`
	Text       string       `json:"text"`
}

func (c *cli) switchConfig() *cobra.Command {
	var r switchRequest
	var names []string
	for _, v := range switchVendors {
		names = append(names, v.name)
	}
	cmd := &cobra.Command{
		Use:   "switch-config VENDOR",
		Short: "Print what a switch, router or hypervisor needs for the cluster",
		Long: `Print the configuration that a switch, router or hypervisor needs so that every member hears
the clients, with the reason for each part. VIPs and mode are those of the running
cluster; with --vip no nlbd is asked. With --mode it is what another mode would need.
It is a text to read and adapt, not one to paste blindly.

Vendors: ` + strings.Join(names, ", "),
		Example: `  nlbctl switch-config cisco-ios --vlan 10 --interface Gi1/0/1,Gi1/0/2 --uplink Te1/1/1
  nlbctl switch-config linux --vip 192.0.2.10 --mode igmp`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactly("VENDOR")(cmd, args); err != nil {
				return fmt.Errorf("%w: there are %s", err, strings.Join(names, ", "))
			}
			if !slices.Contains(names, args[0]) {
				return usageError{fmt.Errorf("unknown vendor %q: there are %s", args[0], strings.Join(names, ", "))}
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, begin string) (offers []string, _ cobra.ShellCompDirective) {
			for _, v := range switchVendors {
				if len(args) == 0 && strings.HasPrefix(v.name, begin) {
					offers = append(offers, v.name+"\t"+v.what)
				}
			}
			return offers, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v := switchVendors[slices.Index(names, args[0])]
			cluster, err := c.switchCluster(cmd, &r)
			if err != nil {
				return err
			}
			out, err := renderSwitch(v, cluster, &r)
			if err != nil {
				return err
			}
			return c.print(out, func(w io.Writer) { fmt.Fprint(w, out.Text) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&r.vips, "vip", nil, "virtual IP, instead of asking nlbd; may be repeated")
	f.StringVar(&r.mode, "mode", "", "unicast, multicast or igmp")
	f.StringVar(&r.vlan, "vlan", "", "VLAN of the cluster, as the switch calls it")
	f.StringSliceVar(&r.ports, "interface", nil, "ports of the switch that members are at")
	f.StringSliceVar(&r.uplink, "uplink", nil, "ports at which clients' frames come in")
	completeFlag(cmd, "mode", string(config.Unicast), string(config.Multicast), string(config.IGMP))
	return cmd
}

// switchCluster is the cluster that the flags describe, or the running one.
func (c *cli) switchCluster(cmd *cobra.Command, r *switchRequest) (control.Status, error) {
	var s control.Status
	for _, text := range r.vips {
		vip, err := netip.ParseAddr(text)
		if err != nil || vip.Zone() != "" {
			return s, usageError{fmt.Errorf("--vip %q is not an address: write one such as 192.0.2.10", text)}
		}
		s.VIPs = append(s.VIPs, vip.Unmap())
	}
	mode := config.Mode(r.mode)
	if r.mode != "" && !slices.Contains([]config.Mode{config.Unicast, config.Multicast, config.IGMP}, mode) {
		return s, usageError{fmt.Errorf("unknown mode %q: write unicast, multicast or igmp", r.mode)}
	}
	if len(s.VIPs) == 0 {
		var err error
		if s, err = c.askStatus(cmd.Context()); err != nil {
			return s, fmt.Errorf("%w; without nlbd, give --vip and --mode", err)
		}
		if len(s.VIPs) == 0 {
			return s, errors.New("the cluster has no VIP yet: give --vip")
		}
	}
	s.Mode = cmp.Or(r.mode, s.Mode, string(config.Unicast))
	s.ClusterMAC = l2.ClusterMAC(config.Mode(s.Mode), l2.ClusterAddr(s.VIPs)).String()
	return s, nil
}
