package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

func (c *cli) explain() *cobra.Command {
	var protocol string
	cmd := &cobra.Command{
		Use:   "explain CLIENT[:PORT] VIP[:PORT]",
		Short: "Say which member answers a client, and why",
		Example: `  nlbctl explain 198.51.100.7 192.0.2.10:80
  nlbctl explain 198.51.100.7:40000 192.0.2.10:53 --proto udp
  nlbctl explain 2001:db8::7 [2001:db8::10]:443
  nlbctl explain 198.51.100.7 192.0.2.10 --proto icmp`,
		Args:              exactly("CLIENT", "VIP"),
		ValidArgsFunction: c.completePorts(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := explainRequest(args[0], args[1], protocol)
			if err != nil {
				return usageError{err}
			}
			e, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) (control.Explanation, error) {
				return client.Explain(ctx, r)
			})
			if err != nil {
				return err
			}
			return c.print(e, func(w io.Writer) { c.explainTable(w, e) })
		},
	}
	cmd.Flags().StringVar(&protocol, "proto", "", "tcp, udp, sctp or icmp (default tcp, without a port of VIP icmp)")
	completeFlag(cmd, "proto", "tcp", "udp", "sctp", "icmp")
	return cmd
}

func explainRequest(client, vip, protocol string) (r control.ExplainRequest, err error) {
	if r.Client, r.ClientPort, err = hostPort(client); err != nil {
		return r, err
	}
	if r.VIP, r.Port, err = hostPort(vip); err != nil {
		return r, err
	}
	r.Protocol = protocol
	if protocol == "" {
		r.Protocol = "tcp"
		if r.Port == 0 {
			r.Protocol = "icmp"
		}
	}
	switch r.Protocol {
	case "tcp", "udp", "sctp":
		if r.Port == 0 {
			return r, fmt.Errorf("%s needs a port: write %s", r.Protocol, netip.AddrPortFrom(r.VIP, 80))
		}
	case "icmp":
		if r.Port != 0 {
			return r, errors.New("icmp has no ports: write addresses only")
		}
		r.ClientPort = 0
	default:
		return r, fmt.Errorf("unknown protocol %q: write tcp, udp, sctp or icmp", protocol)
	}
	if r.Client.Is4() != r.VIP.Is4() {
		return r, fmt.Errorf("client %v and virtual IP %v are not of one family", r.Client, r.VIP)
	}
	return r, nil
}

// hostPort reads ADDRESS or ADDRESS:PORT; port 0 stands for none.
func hostPort(s string) (netip.Addr, uint16, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), 0, nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), ap.Port(), nil
	}
	return netip.Addr{}, 0, fmt.Errorf("%q is not an address: write one such as 192.0.2.10, 192.0.2.10:80 or [2001:db8::10]:80", s)
}

func (c *cli) explainTable(w io.Writer, e control.Explanation) {
	color := red
	if e.Answered {
		color = green
	}
	fmt.Fprintf(w, "%s\n\n", c.paint(color, e.Conclusion))
	rule := "none: traffic for the default host"
	if e.Rule != "" {
		rule = fmt.Sprintf("%s (%s, affinity %s)", e.Rule, e.Mode, e.Affinity)
	}
	rows := [][]cell{
		{text("Client"), text(endpoint(e.Client, e.ClientPort))},
		{text("Virtual IP"), text(endpoint(e.VIP, e.Port) + " " + e.Protocol)},
		{text("Rule"), text(rule)},
	}
	if e.Key != "" {
		rows = append(rows, []cell{text("Hash key"), text(e.Key)}, []cell{text("Bucket"), text(e.Bucket)})
	}
	rows = append(rows,
		[]cell{text("Epoch"), text(e.Epoch)},
		[]cell{text("At " + e.Member), text(e.Verdict + " (" + e.Reason + ")")},
	)
	columns(w, rows)
	if len(e.Members) > 0 {
		fmt.Fprintln(w)
		c.partTable(w, e)
	}
	if len(e.Steps) > 0 {
		fmt.Fprintln(w)
	}
	for i, step := range e.Steps {
		fmt.Fprintf(w, "%2d. %s\n", i+1, printable(step))
	}
}

// partTable shows what each member does, as it says itself.
func (c *cli) partTable(w io.Writer, e control.Explanation) {
	rows := [][]cell{header("MEMBER", "STATE", "LEASE", "FLAG", "NEW", "OWN CONNECTION", "OTHER", "LISTENS", "CONNECTIONS")}
	var missing []control.Part
	for _, p := range e.Members {
		if p.Error != "" {
			missing = append(missing, p)
			continue
		}
		lease, listens := c.paint(red, "over"), text(orDash(p.Listens))
		if p.Lease {
			lease = c.paint(green, "runs")
		}
		if p.Listens == "no" && p.Member == e.Owner {
			listens = c.paint(red, p.Listens)
		}
		rows = append(rows, []cell{
			text(p.Member), text(p.State), lease, text(p.Flag), c.exit(p.New), c.exit(p.Existing), c.exit(p.Unknown), listens, number(p.Connections),
		})
	}
	columns(w, rows)
	for _, p := range missing {
		fmt.Fprintln(w, c.paint(yellow, fmt.Sprintf("%s (%s): %s", p.Member, p.State, p.Error)))
	}
}

func (c *cli) exit(e control.Exit) cell {
	if e.Verdict == "accept" {
		return c.paint(green, e.Verdict+" "+e.Reason)
	}
	return text(orDash(strings.TrimSpace(e.Verdict + " " + e.Reason)))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}
