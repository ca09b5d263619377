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
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster, its members and rules",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return untilInterrupted(cmd.Context(), c.watch(cmd.Context()))
			}
			return c.printStatus(cmd.Context(), "")
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second until interrupted")
	return cmd
}

// watch shows the status over and over, on a terminal each time from the top.
func (c *cli) watch(ctx context.Context) error {
	clear := ""
	if c.terminal && c.format == "table" {
		clear = "\x1b[H\x1b[2J"
	}
	for {
		if err := c.printStatus(ctx, clear); err != nil {
			return err
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
}

// printStatus writes the status after what makes room for it.
func (c *cli) printStatus(ctx context.Context, before string) error {
	s, err := c.askStatus(ctx)
	if err != nil {
		return err
	}
	return c.print(s, func(w io.Writer) {
		fmt.Fprint(w, before)
		c.statusTable(w, s)
	})
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
			notes = append(notes, connections(m.Connections)+" left")
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

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}
