package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/portrules"
)

func (c *cli) queryPort() *cobra.Command {
	var protocol string
	cmd := &cobra.Command{
		Use:   "queryport VIP:PORT",
		Short: "Show the rule that covers a port, its owners and what all members counted for it",
		Example: `  nlbctl queryport 192.0.2.10:80
  nlbctl queryport [2001:db8::10]:53 --proto udp`,
		Args:              exactly("VIP:PORT"),
		ValidArgsFunction: c.completePorts(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := netip.ParseAddrPort(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is not an address with a port: write one such as 192.0.2.10:80 or [2001:db8::10]:80", args[0])}
			}
			r := control.PortRequest{VIP: at.Addr().Unmap(), Port: at.Port(), Protocol: protocol}
			if err := r.Check(); err != nil {
				return usageError{err}
			}
			p, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) (control.Port, error) {
				return client.QueryPort(ctx, r)
			})
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) { c.portTable(w, p) })
		},
	}
	cmd.Flags().StringVar(&protocol, "proto", "tcp", "tcp, udp or sctp")
	completeFlag(cmd, "proto", "tcp", "udp", "sctp")
	return cmd
}

func (c *cli) portTable(w io.Writer, p control.Port) {
	rows := [][]cell{{text("Port"), text(netip.AddrPortFrom(p.VIP, p.Port).String() + " " + p.Protocol)}}
	if r := p.Rule; r == nil {
		rows = append(rows, []cell{text("Rule"), text("none: traffic for the default host")})
	} else {
		mode := r.Mode.String()
		if r.Mode == portrules.Single && !r.Preempt {
			mode += ", the owner stays (preempt false)"
		}
		affinity := r.Affinity.String()
		if r.Timeout != 0 {
			affinity += ", " + time.Duration(r.Timeout).String()
		}
		rows = append(rows,
			[]cell{text("Rule"), text(fmt.Sprintf("%s: %s, ports %s, virtual IP %s", r.Name, r.Protocol, r.Ports, r.VIP))},
			[]cell{text("Mode"), text(mode)},
			[]cell{text("Affinity"), text(affinity)})
	}
	columns(w, append(rows, []cell{text("Epoch"), text(p.Epoch)}))
	if len(p.Shares) > 0 {
		fmt.Fprintln(w)
		c.shareTable(w, p)
	}
	fmt.Fprintln(w)
	c.counterTable(w, p.Counters)
	if len(p.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintln(w, c.paint(yellow, "Warning: "+warning))
	}
}

// shareTable shows of weight and handling priority the one that counts.
func (c *cli) shareTable(w io.Writer, p control.Port) {
	figure := "PRIORITY"
	weighted := p.Rule != nil && p.Rule.Mode == portrules.Multiple
	if weighted {
		figure = "WEIGHT"
	}
	rows := [][]cell{header("MEMBER", "STATE", figure, "BUCKETS", "SHARE", "")}
	for _, s := range p.Shares {
		n := s.Priority
		if weighted {
			n = s.Weight
		}
		var notes []string
		if s.RuleState == "draining" || s.RuleState == "disabled" {
			notes = append(notes, "rule "+s.RuleState)
		}
		if s.Keeps > 0 {
			notes = append(notes, fmt.Sprintf("keeps connections in %d more", s.Keeps))
		}
		rows = append(rows, []cell{
			text(s.Member), text(s.State), number(n), number(s.Buckets), number(fmt.Sprintf("%.1f%%", s.Percent)), text(strings.Join(notes, ", ")),
		})
	}
	columns(w, rows)
}

// counterTable has a line for each reason and a column for each member that answered.
func (c *cli) counterTable(w io.Writer, counters []control.PortCounter) {
	var reasons []string
	head, missing := header("REASON"), []control.PortCounter{}
	for _, m := range counters {
		if m.Error != "" {
			missing = append(missing, m)
			continue
		}
		head = append(head, cell{text: m.Member, right: true})
		for reason := range m.Counts {
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	slices.Sort(reasons)
	rows := [][]cell{head}
	for _, reason := range reasons {
		row := []cell{text(reason)}
		for _, m := range counters {
			if m.Error == "" {
				row = append(row, number(m.Counts[reason]))
			}
		}
		rows = append(rows, row)
	}
	columns(w, rows)
	for _, m := range missing {
		fmt.Fprintln(w, c.paint(yellow, fmt.Sprintf("%s: %s", m.Member, m.Error)))
	}
}

// completePorts offers the ports of the rules to the shell as argument n.
func (c *cli) completePorts(n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) != n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s := c.statusForShell(cmd)
		var out []string
		for _, r := range s.Rules {
			first, _, _ := strings.Cut(r.Ports, "-")
			for _, vip := range s.VIPs {
				at := vip.String() + ":" + first
				if vip.Is6() {
					at = "[" + vip.String() + "]:" + first
				}
				if (r.VIP == "all" || r.VIP == vip.String()) && strings.HasPrefix(at, begin) {
					out = append(out, cobra.CompletionWithDesc(at, "rule "+r.Name))
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
