package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/portrules"
)

// change gives the whole cluster other rules while clients are connected.
func (d *demo) change(ctx context.Context) error {
	last := d.lab.Members[len(d.lab.Members)-1]
	d.step("New rules for the whole cluster: nlbctl apply on "+last.Name,
		"One document, the same on all members, replaced at one instant or not at all.")
	var open []*session
	for _, client := range d.lab.Client.Addrs[:min(9, len(d.lab.Client.Addrs))] {
		s, err := d.open(ctx, client)
		if err != nil {
			return err
		}
		defer s.close()
		open = append(open, s)
	}
	now, err := last.Control().Config(ctx, 0)
	if err != nil {
		return err
	}
	next, err := config.ParseCluster("the configuration in force", []byte(now.YAML))
	if err != nil {
		return err
	}
	next.Rules = append(next.Rules, portrules.Rule{Name: "shop", Protocol: portrules.TCP, First: 8080, Last: 8099})
	for i := range next.Rules {
		if next.Rules[i].Name == "echo" {
			next.Rules[i].Affinity = portrules.AffinityNone
		}
	}
	begin := time.Now()
	res, err := last.Control().Apply(ctx, control.ApplyRequest{File: "demo", YAML: next.YAML(), Version: now.Version})
	if err != nil {
		return err
	}
	took := time.Since(begin)
	d.say("version %d became %d: %s", res.Was, res.Version, strings.Join(res.Changes, "; "))
	same := 0
	for _, m := range d.lab.Members {
		if v, err := m.Control().Config(ctx, 0); err == nil && v.Version == res.Version && v.Digest != now.Digest {
			same++
		}
	}
	d.check(same == len(d.lab.Members), "all %d members have it, and on their disks, after %d ms", same, took.Milliseconds())
	n, broken := works(open)
	d.check(n == len(open), "%d of %d open connections go on, though what is hashed for them has changed%s", n, len(open), reason(broken))
	back, err := d.lab.Members[0].Control().Rollback(ctx, control.RollbackRequest{Version: now.Version})
	if err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	n, broken = works(open)
	d.check(n == len(open), "rolled back from %s, as version %d: %d of %d go on%s", d.lab.Members[0].Name, back.Version, n, len(open), reason(broken))
	d.status, err = d.lab.WaitConverged(ctx, len(d.lab.Members))
	return err
}
