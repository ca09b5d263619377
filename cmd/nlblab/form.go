package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
)

// form starts the members and shows the status.
func (d *demo) form(ctx context.Context) error {
	d.step("A cluster forms",
		"All servers share one IP and one MAC address. None of them is in front of the others, so none can take all down.")
	for _, m := range d.lab.Members {
		if err := m.StartHTTP(web.Port()); err != nil {
			return err
		}
		if err := m.StartEcho(echo.Port()); err != nil {
			return err
		}
	}
	if err := d.lab.Start(); err != nil {
		return err
	}
	took, err := d.converged(ctx, len(d.lab.Members))
	if err != nil {
		return err
	}
	kind, err := d.lab.Members[0].Status(ctx)
	if err != nil {
		return err
	}
	d.say("VIP %s, cluster MAC %s, mode %s, data plane %s, epoch %d after %.1f s",
		d.status.VIPs[0], d.status.ClusterMAC, d.status.Mode, kind.Dataplane.Kind, d.status.Epoch, took.Seconds())
	d.table(members(d.status))
	low, high := shares(d.status, "web")
	d.check(high-low <= 1, "equal weights, equal shares: each member owns %s of the 4096 buckets", between(low, high))
	return nil
}

// members is the table of members with their share of the first rule.
func members(s control.Status) [][]string {
	rows := [][]string{{"PRIORITY", "NAME", "ADDRESS", "STATE", "BUCKETS", ""}}
	for _, m := range s.Members {
		state, note := m.State, ""
		if !m.Alive {
			state = "dead"
		}
		if m.Name == s.DefaultHost {
			note = "default host: answers ARP, ping and what no rule covers"
		}
		rows = append(rows, []string{strconv.Itoa(int(m.Priority)), m.Name, m.Address.String(), state, strconv.Itoa(buckets(s, "web", m.Name)), note})
	}
	return rows
}

func buckets(s control.Status, rule, member string) int {
	for _, r := range s.Rules {
		for _, o := range r.Owners {
			if r.Name == rule && o.Member == member {
				return o.Buckets
			}
		}
	}
	return 0
}

// shares are the smallest and the largest share among the started members alive.
func shares(s control.Status, rule string) (low, high int) {
	low = 1 << 30
	for _, m := range s.Members {
		if m.Alive && m.State == "started" {
			n := buckets(s, rule, m.Name)
			low, high = min(low, n), max(high, n)
		}
	}
	return low, high
}

func between(low, high int) string {
	if low == high {
		return strconv.Itoa(low)
	}
	return fmt.Sprintf("%d or %d", low, high)
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func join(names []string) string { return strings.Join(names, ", ") }
