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
	c := start(t, lab.Options{Members: 4, Clients: clients + 500, Rules: lab.DefaultRules + `
- {name: boss, protocol: tcp, ports: 8, mode: single}
`})
	boss := netip.AddrPortFrom(lab.VIP, 8) // moves as a whole with every handling priority
	for _, m := range c.Members {
		c.ok(m.StartEcho(echo.Port()))
		c.ok(m.StartEcho(boss.Port()))
	}
	late := c.Members[3]
	c.ok(late.Stop())
	c.converged(3)
	held, bossed := c.hold(c.Client.Addrs[:clients*4/5], echo), c.hold(c.Client.Addrs[clients*4/5:clients], boss)
	fresh := lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{}, Every: 4 * time.Millisecond, Timeout: 3 * time.Second}
	for i := range trials(1, 5) { // 250 per second in each lane
		fresh.Lanes[fmt.Sprint(i)] = c.Client.Addrs[clients+100*i : clients+100*(i+1)]
	}
	probe := c.Client.StartProbe(fresh)
	rng := rand.New(rand.NewPCG(3, 3))
	states := []string{control.Start, control.Start, control.Start}
	var took []time.Duration
	for n := range trials(10, 30) {
		epoch, began := c.status().Epoch, time.Now()
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
			m.Config["member"].(map[string]any)["rules"] = map[string]any{
				"web": map[string]any{"weight": weight}, "echo": map[string]any{"weight": weight}, "boss": map[string]any{"priority": priority},
			}
			c.ok(m.Reload())
		}
		c.sleep(300 * time.Millisecond)
		c.converged(len(states))
		last := c.lastInForce(epoch + 1).Sub(began)
		t.Logf("%s %s: in force everywhere after %s", m.Name, what, last)
		if last > 50*time.Millisecond {
			c.tellEpoch(epoch+1, began)
		}
		if what != "joins" { // the start of the process is in that
			took = append(took, last)
		}
		for i, m := range c.Members[:len(states)] { // a drained member stops when its last session moves nowhere: it has some
			if s := c.stateOf(m.Name); states[i] == control.Drain && s != "draining" && held.at(m.Name)+bossed.at(m.Name) > 0 {
				t.Errorf("%s is %s with %d sessions", m.Name, s, held.at(m.Name)+bossed.at(m.Name))
			}
		}
	}
	held.stop()
	bossed.stop()
	attempts, failed, slow := 0, 0, 0
	for _, r := range probe.Stop() {
		attempts, failed = attempts+len(r.Attempts), failed+r.Failed()
		for _, a := range r.Attempts {
			if a.Took > 200*time.Millisecond {
				slow++
			}
		}
	}
	// A SYN that meets a bucket between two owners is sent again after a second. Among the
	// other tests a busy machine makes that instant longer.
	t.Logf("%d sessions kept; %d new connections, %d failed, %d (%.2f %%) slower than 200 ms",
		len(held.list)+len(bossed.list), attempts, failed, slow, 100*float64(slow)/float64(attempts))
	if failed > 0 {
		t.Errorf("%d new connections failed", failed)
	}
	if slow*1000 > attempts*trials(20, 2) {
		t.Errorf("%d of %d new connections took more than 200 ms", slow, attempts)
	}
	slices.Sort(took)
	t.Logf("%d changes, from the command to the last member: median %s, p99 %s, worst %s",
		len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if p99 := took[len(took)*99/100]; p99 > time.Duration(trials(500, 50))*time.Millisecond {
		t.Errorf("p99 %s", p99)
	}
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

// tellEpoch logs where the time went until an epoch was in force.
func (c *cluster) tellEpoch(epoch uint64, began time.Time) {
	c.t.Helper()
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		for _, e := range events {
			if e.Epoch+1 >= epoch && e.Epoch <= epoch+1 && e.Time.After(began) {
				c.t.Logf("  %s %s after %s, took %s: %s", m.Name, e.Kind, e.Time.Sub(began), time.Duration(e.Duration), e.Message)
			}
		}
	}
}

// lastInForce is when the last member switched to an epoch or, if it missed that, to a
// later one.
func (c *cluster) lastInForce(epoch uint64) (last time.Time) {
	c.t.Helper()
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		i := slices.IndexFunc(events, func(e control.Event) bool { return e.Kind == "converged" && e.Epoch >= epoch })
		if i < 0 {
			c.t.Fatalf("%s never switched to epoch %d", m.Name, epoch)
		}
		if events[i].Time.After(last) {
			last = events[i].Time
		}
	}
	return last
}
