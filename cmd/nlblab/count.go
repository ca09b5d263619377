package main

import (
	"context"
	"fmt"
)

// count compares all SYNs sent with all SYNs accepted.
func (d *demo) count(ctx context.Context) error {
	d.step("The balance of the whole demo",
		"If two servers ever answered the same packet, more would be accepted than was sent.")
	sent, err := d.lab.Switch.SYNs(ctx)
	if err != nil {
		return err
	}
	by, err := d.lab.Accepted(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"SYNS TO THE VIP", ""}}
	var sum uint64
	for _, m := range d.lab.Members {
		rows = append(rows, []string{"accepted by " + m.Name, fmt.Sprint(by[m.Name])})
		sum += by[m.Name]
	}
	rows = append(rows, []string{"accepted together", fmt.Sprint(sum)}, []string{"sent by clients", fmt.Sprint(sent)})
	d.table(rows)
	d.always(sum <= sent && sum > 0, "nobody was answered twice; %d SYNs met silence, those of the crash", int64(sent)-int64(sum))
	return nil
}
