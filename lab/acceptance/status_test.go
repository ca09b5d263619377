package acceptance

import "github.com/opennlb/opennlb/control"

// status is what the first running member says.
func (c *cluster) status() control.Status {
	c.t.Helper()
	for _, m := range c.Members {
		if m.Running() {
			s, err := m.Status(c.ctx)
			c.ok(err)
			return s
		}
	}
	c.t.Fatal("no member runs")
	return control.Status{}
}

func stateRequest(action string) control.StateRequest { return control.StateRequest{Action: action} }
