package acceptance

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// cut is a partition of the segment: one of its sides is these members, by index,
// the other one all others.
type cut struct {
	side []int
	// Under partition: majority, whether this side serves, and whether the other does.
	serves, otherServes bool
}

// TestPartition cuts the segment in two. Each side must serve the clients that it
// hears, or under partition: majority only one of them; after the healing there is
// one cluster again within 2 s.
func TestPartition(t *testing.T) {
	cuts := []cut{
		{side: []int{0, 1}, serves: true},
		{side: []int{2}, otherServes: true}, // one against three
		{side: []int{1, 2}, otherServes: true},
		{side: []int{0}, otherServes: true},
		{side: []int{0, 3}, serves: true},
		{side: []int{1, 2, 3}, serves: true},
	}
	for rule, few := range map[string]int{"serve": 1, "majority": 2} {
		t.Run(rule, func(t *testing.T) {
			c := start(t, lab.Options{Members: 4, Clients: 200, Edit: func(m *lab.Member) {
				m.Config["cluster"].(map[string]any)["partition"] = rule
				undampened(m)
			}})
			var alone []time.Duration
			for round := range trials(few, 20) {
				cut := cuts[round%len(cuts)]
				if rule == "serve" {
					cut.serves, cut.otherServes = true, true
				}
				alone = append(alone, c.partition(cut))
			}
			t.Logf("%d rounds: one cluster again median %s, worst %s after the healing: %s", len(alone), middle(alone), slices.Max(alone), alone)
			if worst := slices.Max(alone); worst > 2*time.Second {
				t.Errorf("one cluster again only %s after the healing: want 2 s", worst)
			}
		})
	}
}

// partition cuts the segment, lets the clients be heard by one side after the other,
// heals it, and returns the time until all members agreed again.
func (c *cluster) partition(cut cut) (healed time.Duration) {
	c.t.Helper()
	var one, other []*lab.Host
	for i, m := range c.Members {
		if slices.Contains(cut.side, i) {
			one = append(one, m.Host)
		} else {
			other = append(other, m.Host)
		}
	}
	said := names(one) + " | " + names(other)
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs}})
	defer probe.Stop()
	c.ok(c.Switch.Partition(c.ctx, append(slices.Clone(one), c.Client.Host), other))
	c.sleep(time.Duration(trials(1500, 2000)) * time.Millisecond)
	c.heard(probe, said+": clients with the first", one, cut.serves)
	c.ok(c.Switch.Partition(c.ctx, one, append(slices.Clone(other), c.Client.Host)))
	c.sleep(500 * time.Millisecond) // agreed long ago
	c.heard(probe, said+": clients with the second", other, cut.otherServes)
	c.checkBalance()

	c.ok(c.Switch.Heal(c.ctx))
	at := time.Now()
	began := probe.Since()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	_, err := c.WaitConverged(ctx, len(c.Members))
	c.ok(err)
	healed = time.Since(at)
	c.sleep(2*time.Second - healed)
	r := probe.Stop()["all"]
	failed := 0
	for _, a := range r.Attempts {
		if a.At > began && a.Err != nil {
			failed++
		}
	}
	c.t.Logf("%s: one cluster again %s after the healing, %d attempts failed meanwhile", said, healed, failed)
	c.excused = c.quietBalance() // until the first beacons two owners may exist: see CONVERGENCE.md
	c.answeredOnce(time.Second)
	return healed
}

// heard watches for a second who of a side answers.
func (c *cluster) heard(probe *lab.Probe, said string, side []*lab.Host, serves bool) {
	c.t.Helper()
	from := probe.Since()
	c.sleep(1600 * time.Millisecond) // attempts end within 0.5 s
	answers, failed := map[string]int{}, 0
	var stall, last time.Duration
	for _, a := range probe.Report()["all"].Attempts {
		if a.At > from {
			stall = max(stall, a.At-max(last, from))
		}
		last = a.At
		switch {
		case a.At < from || a.At > from+time.Second:
		case a.Err != nil:
			failed++
		default:
			answers[a.Member]++
		}
	}
	c.t.Logf("%s: %d attempts failed, answers by %v", said, failed, answers)
	if !serves {
		if len(answers) > 0 {
			c.t.Errorf("%s, which must be silent: answers by %v", said, answers)
		}
		return
	}
	if failed > 0 {
		c.judge(stall)("%s: %d attempts failed, answers by %v", said, failed, answers)
	}
	for _, h := range side {
		if answers[h.Name] == 0 {
			c.judge(stall)("%s: %s answered nobody", said, h.Name)
		}
	}
	if len(answers) > len(side) {
		c.t.Errorf("%s: answers by %v", said, answers)
	}
}

func names(hosts []*lab.Host) string {
	var all []string
	for _, h := range hosts {
		all = append(all, h.Name)
	}
	return strings.Join(all, " ")
}
