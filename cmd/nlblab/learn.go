package main

import (
	"context"
	"fmt"
	"strings"
)

const shown = 12 // lines of the table

// learn looks into the switch.
func (d *demo) learn(ctx context.Context) error {
	d.step("What the switch has learned",
		"A switch that learned the cluster MAC at one port would send all clients there. So no frame ever leaves with it as source.")
	learned, err := d.lab.Switch.FDB(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"MAC", "PORT", "HOST"}}
	seen := false
	for _, s := range learned {
		rows = append(rows, []string{s.MAC, s.Port, s.Host})
		seen = seen || strings.EqualFold(s.MAC, d.status.ClusterMAC)
	}
	if more := len(rows) - shown; more > 0 {
		rows = append(rows[:shown], []string{"...", fmt.Sprintf("and %d more", more)})
	}
	d.table(rows)
	d.always(!seen && len(learned) > 0, "%s is not in the table: it was never the source of a frame", d.status.ClusterMAC)
	if d.status.Mode != "igmp" {
		return nil
	}
	groups, err := d.lab.Switch.MDB(ctx)
	if err != nil {
		return err
	}
	group := "239.255." + strings.Join(strings.Split(d.status.VIPs[0].String(), ".")[2:], ".")
	var joined []string
	for _, g := range groups {
		if g.MAC == group {
			joined = append(joined, g.Host)
		}
	}
	d.check(len(joined) == len(d.lab.Members), "a snooping switch knows who wants group %s: %s", group, join(joined))
	return nil
}
