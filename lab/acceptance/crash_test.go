package acceptance

import (
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestCrash measures how long the clients of a member that dies are without an
// answer, and that nobody else's clients notice.
func TestCrash(t *testing.T) {
	deaths := map[string]struct {
		die, revive func(*cluster, *lab.Member) error
	}{
		"kill -9": {
			func(_ *cluster, m *lab.Member) error { return m.Kill() },
			func(_ *cluster, m *lab.Member) error { return m.Start() },
		},
		"cable cut": {
			func(c *cluster, m *lab.Member) error { return c.Switch.CutCable(c.ctx, m.Host) },
			func(c *cluster, m *lab.Member) error { return c.Switch.PlugCable(c.ctx, m.Host) },
		},
	}
	for name, how := range deaths {
		t.Run(name, func(t *testing.T) {
			c := start(t, lab.Options{Clients: 300, Edit: undampened})
			var silences []time.Duration
			for i := range trials(3, 20) {
				victim := c.Members[i%len(c.Members)]
				silences = append(silences, c.crash(victim, func() error { return how.die(c, victim) }))
				c.ok(how.revive(c, victim))
				c.converged(len(c.Members))
			}
			slices.Sort(silences)
			median, worst := silences[len(silences)/2], silences[len(silences)-1]
			t.Logf("%d trials: silence median %s, worst %s: %s", len(silences), median, worst, silences)
			if median >= time.Second || worst >= 2*time.Second {
				t.Errorf("silence median %s, worst %s: want below 1 s and 2 s", median, worst)
			}
		})
	}
}

// crash lets a member die under probes and returns the silence of its clients.
func (c *cluster) crash(victim *lab.Member, die func() error) time.Duration {
	c.t.Helper()
	return c.crashAndWatch(victim, die, 2500*time.Millisecond)
}

func (c *cluster) crashAndWatch(victim *lab.Member, die func() error, watch time.Duration) time.Duration {
	c.t.Helper()
	by := lanes(c.owners(c.Client.Addrs[:90]))
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: by})
	defer probe.Stop()
	c.sleep(200 * time.Millisecond)
	c.ok(die())
	c.sleep(watch)
	reports := probe.Stop()
	for name, r := range reports {
		switch {
		case name == victim.Name && (r.Failed() == 0 || r.Unended):
			c.t.Errorf("clients of %s: %d attempts failed, still silent at the end: %v", name, r.Failed(), r.Unended)
		case name != victim.Name && r.Failed() > 0:
			c.t.Errorf("%d attempts of the clients of %s failed, though %s died", r.Failed(), name, victim.Name)
		case name != victim.Name && len(r.Answers()) != 1:
			c.t.Errorf("clients of %s were answered by %v, though %s died", name, r.Answers(), victim.Name)
		}
	}
	return reports[victim.Name].Silence
}
