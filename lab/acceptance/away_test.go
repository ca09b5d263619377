package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestAwayWhileChanged changes what a member needs to find the others, or to be let in by
// them, while it is down: the cluster MAC, by the mode or the first VIP, and the detection.
// It comes back nevertheless.
func TestAwayWhileChanged(t *testing.T) {
	beside(t)
	steps := []struct{ name, off, on string }{
		{"mode", "mode: unicast", "mode: multicast"},
		{"first VIP", "  vips:\n", "  vips:\n    - \"10.77.0.110\"\n"},
		{"detection", "detection: normal", "detection: fast"},
	}
	c := start(t, lab.Options{Clients: 60, Edit: undampened})
	away := c.Members[2]
	for n := range trials(1, 4) {
		c.ok(away.Kill())
		c.converged(2)
		yaml, name := c.agreed().YAML, "all at once"
		for i, s := range steps {
			if n > 0 && n != i+1 {
				continue
			}
			if n > 0 {
				name = s.name
			}
			if strings.Contains(yaml, s.on) {
				yaml = strings.Replace(yaml, s.on, s.off, 1)
			} else {
				yaml = strings.Replace(yaml, s.off, s.on, 1)
			}
		}
		res, err := c.Members[1].Control().Apply(c.ctx, control.ApplyRequest{File: name, YAML: yaml})
		c.ok(err)
		c.sleep(700 * time.Millisecond) // until both begin anew
		c.converged(2)
		began := time.Now()
		c.ok(away.Start())
		now := c.agreed()
		t.Logf("%s (%s): back after %s", name, strings.Join(res.Changes, "; "), time.Since(began).Round(time.Millisecond))
		if now.Version != res.Version {
			t.Errorf("%s: version %d became %d", name, res.Version, now.Version)
		}
		c.sleep(1500 * time.Millisecond) // in which it begins anew
		c.agreed()
	}
	c.owners(c.Client.Addrs)
}
