package acceptance

import (
	"strings"
	"testing"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestVIPGivenAway removes a VIP while a member is down, and gives it to another host. The
// member, whose disk still has it, comes back nevertheless; alone it refuses.
func TestVIPGivenAway(t *testing.T) {
	beside(t)
	const second = "10.77.0.109"
	c := start(t, lab.Options{Members: 2, Clients: 30, Rules: "[{name: web, ports: 80}]"})
	change := func(from, to string) {
		t.Helper()
		_, err := c.Members[0].Control().Apply(c.ctx, control.ApplyRequest{File: "f", YAML: strings.Replace(c.clusterYAML(c.Members[0]), from, to, 1)})
		c.ok(err)
	}
	away := c.Members[1]
	change("  partition:", "    - "+second+"\n  partition:")
	c.agreed()
	c.eventually("it is on the disk", func() bool {
		_, err := away.Run(c.ctx, "grep", "-rq", second, c.Dir+"/"+away.Name+"/config")
		return err == nil
	})
	c.ok(away.Kill())
	c.converged(1)
	change("    - \""+second+"\"\n", "")
	_, err := c.Client.Run(c.ctx, "ip", "address", "add", second+"/32", "dev", "eth0")
	c.ok(err)
	c.ok(away.Start())
	c.converged(2)
	c.agreed()
	c.owners(c.Client.Addrs)
	out, err := away.Run(c.ctx, "ip", "address", "show", "dev", "lo")
	c.ok(err)
	if strings.Contains(out, second) {
		t.Errorf("it keeps the VIP:\n%s", out)
	}
}
