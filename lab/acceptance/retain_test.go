package acceptance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestStateIsRetained asks a member for each state, by way of another member, and then
// kills and restarts its agent: with retain_state the state is back, and the stop that
// every orderly end is does not count.
func TestStateIsRetained(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 60, Edit: func(m *lab.Member) {
		m.Config["member"].(map[string]any)["retain_state"] = true
	}})
	m := c.Members[1]
	for _, step := range []struct {
		actions []string
		state   string
	}{
		{[]string{control.Start}, "started"},
		{[]string{control.Stop}, "stopped"},
		{[]string{control.Suspend}, "suspended"},
		{[]string{control.Resume, control.Start}, "started"},
		{[]string{control.Drain}, "draining"},
	} {
		t.Logf("%v", step.actions)
		if step.state == "draining" { // keeps a connection, or the drain would end
			for src, name := range c.owners(c.Client.Addrs[:60]) {
				if name == m.Name {
					conn, err := c.Client.DialFrom(c.ctx, src, web)
					c.ok(err)
					defer conn.Close()
				}
			}
		}
		for i, action := range step.actions {
			c.act(c.Members[i%len(c.Members)], control.StateRequest{Action: action, Members: []string{m.Name}})
		}
		c.ok(m.Kill()) // right after the answer
		c.ok(m.Start())
		c.converged(len(c.Members))
		if s := c.stateOf(m.Name); s != step.state {
			t.Errorf("killed when %s: comes back %s", step.state, s)
		}
		c.ok(m.Restart())
		c.converged(len(c.Members))
		if s := c.stateOf(m.Name); s != step.state {
			t.Errorf("restarted when %s: comes back %s", step.state, s)
		}
	}
}

// TestDrainDeadlineOutlivesNewBeginning: a drain goes on, and ends in time, when its member
// begins anew with the others meanwhile.
func TestDrainDeadlineOutlivesNewBeginning(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 60, Edit: undampened})
	m := c.Members[1]
	for src, name := range c.owners(c.Client.Addrs[:60]) {
		if name == m.Name {
			conn, err := c.Client.DialFrom(c.ctx, src, web)
			c.ok(err)
			defer conn.Close()
		}
	}
	c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{m.Name}, Timeout: control.Duration(8 * time.Second)})
	now := c.agreed()
	_, err := c.Members[0].Control().Apply(c.ctx, control.ApplyRequest{File: "f", YAML: strings.Replace(now.YAML, "mode: unicast", "mode: multicast", 1)})
	c.ok(err)
	for deadline := time.Now().Add(20 * time.Second); ; c.sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the drain does not end")
		}
		s, err := c.Members[0].Status(c.ctx)
		if err == nil && s.Mode == "multicast" && s.Converged && len(s.Members) == 2 && s.Members[1].State == "stopped" {
			return
		}
	}
}

// TestReloadAndWhatWasAsked: a reload takes weights from the file, for good, and does not
// let a rule that was disabled on a member answer there again.
func TestReloadAndWhatWasAsked(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Edit: func(m *lab.Member) {
		m.Config["member"].(map[string]any)["retain_state"] = true
	}})
	asked, m := c.Members[0], c.Members[1]
	port := func(at netip.AddrPort) control.PortShare {
		t.Helper()
		p, err := asked.Control().QueryPort(c.ctx, control.PortRequest{VIP: at.Addr(), Port: at.Port(), Protocol: "tcp"})
		c.ok(err)
		i := slices.IndexFunc(p.Shares, func(s control.PortShare) bool { return s.Member == m.Name })
		if i < 0 {
			return control.PortShare{}
		}
		return p.Shares[i]
	}
	c.nlbctl(asked, done, "weight web 10 --member "+m.Name, m.Name)
	c.nlbctl(asked, done, "rule disable echo --member "+m.Name, m.Name)
	c.setWeight(m, "web", 30)
	for _, how := range []string{"a reload", "a crash after it"} {
		if how != "a reload" {
			c.ok(m.Kill())
			c.ok(m.Start())
			c.converged(len(c.Members))
		}
		c.eventually("the weight of the file, after "+how, func() bool { return port(web).Weight == 30 })
		if s := port(echo); s.RuleState != "disabled" || s.Buckets != 0 {
			t.Errorf("after %s: %+v of a rule that was disabled", how, s)
		}
	}
}
