package acceptance

import (
	"strings"
	"testing"

	"github.com/opennlb/opennlb/lab"
)

// TestCleanupAnyway: --cleanup after a death needs the interface neither up nor at all.
func TestCleanupAnyway(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 30, IPv6: true})
	m := c.Members[1]
	config, err := m.WriteConfig()
	c.ok(err)
	for _, how := range []struct{ before, after string }{
		{"ip link set eth0 down", "true"},
		{"ip link set eth0 down; ip link set eth0 name lan0", "ip link set lan0 name eth0"},
	} {
		c.ok(m.Kill())
		_, err = m.Run(c.ctx, "sh", "-ec", how.before)
		c.ok(err)
		_, err = m.Run(c.ctx, nlbd, "--cleanup", "--config", config)
		c.ok(err)
		out, err := m.Run(c.ctx, "sh", "-ec", "ip address show dev lo; "+how.after+"; ip link set eth0 up")
		c.ok(err)
		if strings.Contains(out, lab.VIP.String()) || strings.Contains(out, lab.VIP6.String()) {
			t.Errorf("%s: --cleanup leaves\n%s", how.before, out)
		}
		c.ok(m.Start())
		c.converged(2)
	}
}
