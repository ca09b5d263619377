package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/nlbhash"
)

// refresh is the time between two looks of --watch and --wait.
const refresh = time.Second

func (c *cli) status() *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status [--watch [INTERVAL]]",
		Short: "Show the cluster, its members and rules",
		Long: `Show the cluster, its members and rules.

With --watch on a terminal it is a live view: packets per second at the member asked, the latest events,
a new epoch standing out; q or Ctrl-C ends it. NEW is accepted TCP SYNs, OTHERS' what another member
answers. Elsewhere it prints one status after the other.`,
		Example: `  nlbctl status
  nlbctl status --watch
  nlbctl status --watch 5s`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Args: func(_ *cobra.Command, args []string) error {
			if interval == 0 || len(args) == 0 {
				return exactly()(nil, args)
			}
			d, err := time.ParseDuration(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is not an interval: write one such as 5s", args[0])}
			}
			interval = d
			return exactly()(nil, args[1:])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval == 0 && !cmd.Flags().Changed("watch") {
				return c.printStatus(cmd.Context())
			}
			if interval < minInterval || interval > maxInterval {
				return usageError{fmt.Errorf("interval %v is out of range: write %v to %v", interval, minInterval, maxInterval)}
			}
			return untilInterrupted(cmd.Context(), c.watch(cmd.Context(), interval))
		},
	}
	cmd.Flags().DurationVarP(&interval, "watch", "w", 0, "show it over and over, each second unless an interval is given")
	cmd.Flags().Lookup("watch").NoOptDefVal = refresh.String()
	return cmd
}

func (c *cli) printStatus(ctx context.Context) error {
	s, err := c.askStatus(ctx)
	if err != nil {
		return err
	}
	return c.print(s, func(w io.Writer) { c.statusTable(w, s) })
}

func (c *cli) pause(ctx context.Context) error { return c.sleep(ctx, refresh) }

func (c *cli) statusTable(w io.Writer, s control.Status) {
	vips := make([]string, len(s.VIPs))
	for i, vip := range s.VIPs {
		vips[i] = vip.String()
	}
	state := c.paint(green, fmt.Sprintf("converged, epoch %d", s.Epoch))
	if !s.Converged {
		state = c.paint(yellow, fmt.Sprintf("converging, epoch %d", s.Epoch))
	}
	engine := text(s.Dataplane.Kind)
	if !s.Lease {
		engine = c.paint(red, s.Dataplane.Kind+", silent")
	}
	columns(w, [][]cell{
		{text("Cluster"), text(s.Cluster)},
		{text("Virtual IPs"), text(strings.Join(vips, ", "))},
		{text("Cluster MAC"), text(s.ClusterMAC + " (" + s.Mode + ")")},
		{text("State"), state},
		{text("Default host"), text(orNobody(s.DefaultHost))},
		{text("Data plane"), engine},
		{text("Detection"), text(fmt.Sprintf("%s, lease %s", s.Detection, time.Duration(s.LeaseTime)))},
	})
	fmt.Fprintln(w)
	c.memberTable(w, s)
	if len(s.Rules) > 0 {
		fmt.Fprintln(w)
		c.ruleTable(w, s.Rules)
	}
	if len(s.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(w, c.paint(yellow, "Warning: "+warning))
	}
}

func (c *cli) memberTable(w io.Writer, s control.Status) {
	rows := [][]cell{header("MEMBER", "PRIORITY", "ADDRESS", "STATE", "")}
	for _, m := range s.Members {
		var notes []string
		if m.State == "draining" && m.Alive {
			notes = append(notes, left(m))
		}
		if m.HeldBack > 0 {
			notes = append(notes, "held back for "+time.Duration(m.HeldBack).String())
		}
		if m.Name == s.Self {
			notes = append(notes, "this member")
		}
		rows = append(rows, []cell{
			text(m.Name), number(m.Priority), text(m.Address), c.memberState(m), text(strings.Join(notes, ", ")),
		})
	}
	columns(w, rows)
}

func (c *cli) memberState(m control.Member) cell {
	switch {
	case !m.Alive:
		return c.paint(red, "not reachable")
	case m.HeldBack > 0:
		return c.paint(yellow, m.State)
	case m.State == "started":
		return c.paint(green, m.State)
	case m.State == "draining":
		return c.paint(yellow, m.State)
	}
	return text(m.State)
}

func (c *cli) ruleTable(w io.Writer, rules []control.Rule) {
	rows := [][]cell{header("RULE", "VIP", "PROTOCOL", "PORTS", "MODE", "AFFINITY", "SHARES")}
	for _, r := range rules {
		affinity := r.Affinity.String()
		if r.Timeout != 0 {
			affinity += ", " + time.Duration(r.Timeout).String()
		}
		rows = append(rows, []cell{
			text(r.Name), text(r.VIP), text(r.Protocol), text(r.Ports), text(r.Mode), text(affinity), text(shares(r.Owners)),
		})
	}
	columns(w, rows)
}

func shares(owners []control.Owner) string {
	parts := make([]string, len(owners))
	for i, o := range owners {
		parts[i] = fmt.Sprintf("%s %.1f%%", o.Member, 100*float64(o.Buckets)/nlbhash.Buckets)
	}
	return orNobody(strings.Join(parts, ", "))
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

// left is how much a draining member has to wait for.
func left(m control.Member) string {
	switch {
	case m.Counting:
		return "counting its connections"
	case m.Connections == 1:
		return "1 connection left"
	}
	return fmt.Sprintf("%d connections left", m.Connections)
}
