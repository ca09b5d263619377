package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestRandomPlannedChanges makes one planned change after the other (joins, drains,
// starts, weights, handling priorities) while many connections echo and new ones are
// made: no session may break or stall for a second, no new connection may fail.
func TestRandomPlannedChanges(t *testing.T) {
	clients := trials(200, 1000)
	c := start(t, lab.Options{Members: 4, Clients: clients + 200})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	late := c.Members[3]
	c.ok(late.Stop())
	c.converged(3)
	held := c.hold(c.Client.Addrs[:clients])
	fresh := lab.ProbeOptions{
		Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs[clients:]}, Every: 5 * time.Millisecond, Timeout: 3 * time.Second,
	}
	probe := c.Client.StartProbe(fresh)
	rng := rand.New(rand.NewPCG(3, 3))
	states := []string{control.Start, control.Start, control.Start}
	for n := range trials(10, 30) {
		i := rng.IntN(len(states))
		m, via := c.Members[i], c.Members[rng.IntN(len(states))]
		var what string
		switch k := rng.IntN(5); {
		case n == 2:
			what = "joins"
			m = late
			c.ok(late.Start())
			states = append(states, control.Start)
		case states[i] == control.Drain:
			what, states[i] = control.Start, control.Start
			c.act(via, control.StateRequest{Action: control.Start, Members: []string{m.Name}})
		case k < 2 && c.started(states) > 1:
			what, states[i] = control.Drain, control.Drain
			c.act(via, control.StateRequest{Action: control.Drain, Members: []string{m.Name}})
		default:
			weight, priority := 10+rng.IntN(91), 1+rng.IntN(32)
			what = fmt.Sprintf("weight %d, handling priority %d", weight, priority)
			m.Config["member"].(map[string]any)["rules"] = map[string]any{"web": map[string]any{"weight": weight, "priority": priority}}
			c.ok(m.Reload())
		}
		t.Logf("%s %s", m.Name, what)
		c.sleep(300 * time.Millisecond)
		c.converged(len(states))
		for i, m := range c.Members[:len(states)] { // a drained member stops when its last session moves nowhere: it has some
			if s := c.stateOf(m.Name); states[i] == control.Drain && s != "draining" && held.at(m.Name) > 0 {
				t.Errorf("%s is %s with %d sessions", m.Name, s, held.at(m.Name))
			}
		}
	}
	r := probe.Stop()["all"]
	held.stop()
	slow := 0
	for _, a := range r.Attempts {
		if a.Took > 200*time.Millisecond {
			slow++
		}
	}
	// A SYN that meets a bucket between two owners is sent again after a second. The
	// aim is 0.2 %; what is asserted is only that it stays the exception.
	t.Logf("%d sessions kept; %d new connections, %d failed, %d slower than 200 ms", len(held.list), len(r.Attempts), r.Failed(), slow)
	if r.Failed() > 0 {
		t.Errorf("%d new connections failed", r.Failed())
	}
	if slow > len(r.Attempts)/10 {
		t.Errorf("%d of %d new connections took more than 200 ms", slow, len(r.Attempts))
	}
	took := c.convergences()
	t.Logf("%d convergences: median %s, worst %s", len(took), took[len(took)/2], took[len(took)-1])
}

func (c *cluster) started(states []string) (n int) {
	for _, s := range states {
		if s == control.Start {
			n++
		}
	}
	return n
}

func (c *cluster) stateOf(name string) string {
	c.t.Helper()
	for _, m := range c.status().Members {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

// convergences are the times that planned changes took, from the coordinators' events.
func (c *cluster) convergences() (took []time.Duration) {
	c.t.Helper()
	for _, m := range c.Members {
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		for _, e := range events {
			if e.Kind == "converged" {
				took = append(took, time.Duration(e.Duration))
			}
		}
	}
	slices.Sort(took)
	return took
}
