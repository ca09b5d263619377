package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/lab"
)

const (
	probedMembers = 4                      // whose clients the prober uses
	probed        = 20                     // clients of each
	calm          = 300 * time.Millisecond // probing before the crash and after it
)

// crash kills the nlbd of the first member, which is the default host and coordinates.
func (d *demo) crash(ctx context.Context) error {
	victim := d.lab.Members[0]
	d.step("A crash: kill -9 of nlbd on "+victim.Name,
		"It led the cluster and answered ARP. The others notice, agree and take over; their own clients must notice nothing.")
	before := d.owner
	if err := d.outage(ctx, victim, victim.Kill); err != nil {
		return err
	}
	d.say("(until its lease ran out, the kernel of %s went on answering; a whole machine fails below)", victim.Name)
	got, failed := d.ask(ctx, 1)
	d.owner = got.owners()
	d.bars(d.byMember("clients"))
	strangers := 0
	for client, m := range before {
		if m != victim.Name && d.owner[client] != m {
			strangers++
		}
	}
	d.check(failed == nil && len(d.clientsOf(victim.Name)) == 0, "its clients are served by the others%s", reason(failed))
	d.check(strangers == 0, "nobody else moved: %d clients of the other servers changed their server", strangers)
	return ctx.Err()
}

// powerFailure takes a whole machine away, and brings it back.
func (d *demo) powerFailure(ctx context.Context) error {
	victim := d.lab.Members[len(d.lab.Members)-1]
	d.step("Power failure of "+victim.Name,
		"The cable goes dead and nlbd with it, without a last word. This is the longest silence that clients can meet.")
	fail := func() error {
		if err := d.lab.Switch.SetLoss(ctx, victim.Host, 100); err != nil {
			return err
		}
		return victim.Kill()
	}
	if err := d.outage(ctx, victim, fail); err != nil {
		return err
	}
	if err := d.lab.Switch.SetLoss(ctx, victim.Host, 0); err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	took, err := d.converged(ctx, len(d.lab.Members))
	if err != nil {
		return err
	}
	got, failed := d.ask(ctx, 1)
	d.owner = got.owners()
	d.check(failed == nil && len(d.clientsOf(victim.Name)) > 0, "switched on again, it serves %d clients %.1f s later%s",
		len(d.clientsOf(victim.Name)), took.Seconds(), reason(failed))
	return ctx.Err()
}

// outage lets a member fail while clients keep connecting, and waits until the
// others serve its clients.
func (d *demo) outage(ctx context.Context, victim *lab.Member, fail func() error) error {
	probe := d.lab.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: d.lanes(victim)})
	defer probe.Stop()
	if err := wait(ctx, calm); err != nil {
		return err
	}
	failed := probe.Since()
	if err := fail(); err != nil {
		return err
	}
	took, err := d.converged(ctx, len(d.lab.Members)-1)
	if err != nil {
		return err
	}
	if err := untilAnswered(ctx, probe, victim.Name, failed); err != nil {
		return err
	}
	if err := wait(ctx, calm); err != nil {
		return err
	}
	reports := probe.Stop()
	d.table(silences(d.lab.Members, reports))
	others, stall := 0, time.Duration(0)
	for name, r := range reports {
		stall = max(stall, r.Stall)
		if name != victim.Name {
			others += r.Failed()
		}
	}
	silence := reports[victim.Name]
	d.say("one new connection every 10 ms for each server's clients; the prober itself paused for at most %s", ms(stall))
	d.check(silence.Failed() > 0 && !silence.Unended && silence.Silence < silenceLimit,
		"clients of %s met %s of silence (less than %s); epoch %d after %s", victim.Name, ms(silence.Silence), ms(silenceLimit), d.status.Epoch, ms(took))
	d.check(others == 0, "clients of the other servers lost nothing: %d failed connections", others)
	return nil
}

// lanes groups some clients by the member that answers them: the victim's, and those
// of a few others, so that probing does not tire the machine of a large cluster.
func (d *demo) lanes(victim *lab.Member) map[string][]netip.Addr {
	lanes := map[string][]netip.Addr{}
	add := func(m *lab.Member) {
		clients := d.clientsOf(m.Name)
		lanes[m.Name] = clients[:min(probed, len(clients))]
	}
	add(victim)
	for _, m := range d.lab.Members {
		if len(lanes) < probedMembers {
			add(m)
		}
	}
	return lanes
}

func silences(members []*lab.Member, reports map[string]lab.LaneReport) [][]string {
	rows := [][]string{{"CLIENTS OF", "CONNECTIONS", "FAILED", "LONGEST SILENCE"}}
	for _, m := range members {
		r, ok := reports[m.Name]
		if !ok {
			continue
		}
		rows = append(rows, []string{m.Name, fmt.Sprint(len(r.Attempts)), fmt.Sprint(r.Failed()), ms(r.Silence)})
	}
	return rows
}

// untilAnswered waits until an attempt that began later than after, and later than
// every failed one, was answered.
func untilAnswered(ctx context.Context, probe *lab.Probe, lane string, after time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, convergeLimit)
	defer cancel()
	for {
		r := probe.Report()[lane]
		if n := len(r.Attempts); n > 0 && r.Failed() > 0 && !r.Unended && r.Attempts[n-1].At > after {
			return nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("wait until the clients of %s are answered again: %w", lane, err)
		}
	}
}

// wait lets time pass in which others work.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
