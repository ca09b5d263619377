package acceptance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// undampened is for series of deaths that are not about coming and going.
func undampened(m *lab.Member) { m.Config["cluster"].(map[string]any)["dampening"] = false }

// TestFlappingMemberIsHeldBack kills an agent and starts it at once, again and again. From
// the sixth time on it is let in only after 1 s and 2 s, all can tell why, and the clients of
// the others lose nothing.
func TestFlappingMemberIsHeldBack(t *testing.T) {
	c := start(t, lab.Options{Clients: 300})
	fickle := c.Members[2]
	for i, hold := range []time.Duration{5: time.Second, 6: 2 * time.Second} {
		if hold > 0 {
			c.crash(killed, 2500*time.Millisecond, fickle) // checks the clients of the others
		} else {
			c.ok(fickle.Kill())
		}
		c.converged(2)
		c.ok(fickle.Start())
		if hold > 0 {
			c.heldBack(fickle, hold)
		}
		c.converged(len(c.Members))
		took := c.heldFor(fickle)
		t.Logf("crash %d: let in %s after its agent was there again", i+1, took)
		// The hold counts from when the coordinator hears of the member, which may be before it says that it is up.
		if took < hold-100*time.Millisecond || took > hold+4*time.Second {
			t.Errorf("crash %d: let in after %s, want %s", i+1, took, hold)
		}
	}
	c.waitEvent(c.Members[0], "held back")
	told := 0
	events, err := c.Members[0].Control().Events(c.ctx, 0, 0)
	c.ok(err)
	for _, e := range events {
		if e.Kind == "held back" {
			told++
			t.Log(e.Message)
		}
	}
	if told != 2 {
		t.Errorf("%d events, want one for each of 2 holds", told)
	}
	if s := c.status(); slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "held back") }) {
		t.Errorf("it is in, and still: %q", s.Warnings)
	}
	c.owners(c.Client.Addrs[:90])
}

// heldBack waits until all say that m is held back, m included, and that nobody needs
// it meanwhile.
func (c *cluster) heldBack(m *lab.Member, hold time.Duration) {
	c.t.Helper()
	deadline := time.Now().Add(hold + 5*time.Second)
	for _, asked := range c.Members {
		for {
			s, err := asked.Status(c.ctx)
			i := slices.IndexFunc(s.Members, func(x control.Member) bool { return x.Name == m.Name })
			if err == nil && i >= 0 && s.Members[i].HeldBack > 0 {
				if left := time.Duration(s.Members[i].HeldBack); left > hold {
					c.t.Errorf("%s: held back for another %s, want %s at most", asked.Name, left, hold)
				}
				if !slices.ContainsFunc(s.Warnings, func(w string) bool {
					return strings.Contains(w, m.Name+": held back") && strings.Contains(w, "times without a stop")
				}) {
					c.t.Errorf("%s warns only of %q", asked.Name, s.Warnings)
				}
				if asked != m && !s.Converged {
					c.t.Errorf("%s waits for the one held back", asked.Name)
				}
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s never tells that %s is held back: %+v, %v", asked.Name, m.Name, s.Members, err)
			}
			c.sleep(20 * time.Millisecond)
		}
	}
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:90]))})
	c.sleep(500 * time.Millisecond)
	for name, r := range probe.Stop() {
		if name == m.Name {
			c.t.Errorf("%s is held back, and has clients", name)
		}
		c.unbroken("clients of "+name+" while "+m.Name+" is held back", r)
	}
}

// heldFor is the time from the last start of m's agent to its first view, by its log, which
// is written a little later.
func (c *cluster) heldFor(m *lab.Member) time.Duration {
	c.t.Helper()
	for range 50 {
		if up, in := entry(m); !up.IsZero() && !in.IsZero() {
			return in.Sub(up)
		}
		c.sleep(40 * time.Millisecond)
	}
	c.t.Fatalf("%s was never let in:\n%s", m.Name, m.Log(20))
	return 0
}

// entry is when the last start of a member's agent was up, and in a view, by its log.
func entry(m *lab.Member) (up, in time.Time) {
	for line := range strings.Lines(m.Log(200)) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		switch {
		case err != nil:
		case strings.Contains(line, "member is up"):
			up, in = at, time.Time{}
		case in.IsZero() && strings.Contains(line, "event=join"):
			in = at
		}
	}
	return up, in
}
