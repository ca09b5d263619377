package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestReload: weights of the file take the place of what was asked for, after a restart, too.
// A file of another cluster is refused, and keeps nobody from changing the configuration.
func TestReload(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 10, Edit: func(m *lab.Member) {
		m.Config["member"].(map[string]any)["retain_state"] = true
	}})
	other, m := c.Members[0], c.Members[1]
	_, err := other.Control().SetRule(c.ctx, control.RuleRequest{Action: control.Weight, Rule: "web", Value: 7, Members: []string{m.Name}})
	c.ok(err)
	c.weighs(m, 7)
	m.Config["member"].(map[string]any)["rules"] = map[string]any{"web": map[string]any{"weight": 90}}
	c.ok(m.Reload())
	c.weighs(m, 90)
	c.ok(m.Restart())
	c.converged(2)
	c.weighs(m, 90)

	shared := m.Config["cluster"].(map[string]any)
	name := shared["name"]
	shared["name"] = "other"
	c.ok(m.Reload())
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(m.Log(5), "the name of a cluster cannot change"); c.sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a file of another cluster is not refused")
		}
	}
	shared["name"] = name
	now := c.agreed()
	_, err = other.Control().Apply(c.ctx, control.ApplyRequest{File: "f", YAML: strings.Replace(now.YAML, "serve", "majority", 1)})
	c.ok(err)
}

// weighs waits for a member's weight in rule web.
func (c *cluster) weighs(m *lab.Member, want uint8) {
	c.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; c.sleep(50 * time.Millisecond) {
		p, err := m.Control().QueryPort(c.ctx, control.PortRequest{VIP: lab.VIP, Port: 80, Protocol: "tcp"})
		c.ok(err)
		for _, s := range p.Shares {
			if s.Member == m.Name && s.Weight == want {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not weigh %d: %+v", m.Name, want, p.Shares)
		}
	}
}
