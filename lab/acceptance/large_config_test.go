package acceptance

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestApplyMany replaces the configuration by the largest that there may be, 256 rules
// and 64 VIPs, while clients ask; and a member starts with it.
func TestApplyMany(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 200})
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs[60:]}, Timeout: 3 * time.Second})
	was := c.agreed()
	var vips, rules strings.Builder
	for i := range 63 {
		fmt.Fprintf(&vips, "    - 10.77.0.%d\n", 101+i)
	}
	for i := range 253 {
		fmt.Fprintf(&rules, "    - {name: many%d, ports: %d, affinity: %s}\n", i, 1000+i, []string{"none", "single", "network"}[i%3])
	}
	large := strings.Replace(strings.Replace(was.YAML, "  partition:", vips.String()+"  partition:", 1), "  rules:\n", "  rules:\n"+rules.String(), 1)
	for _, step := range []struct {
		name, yaml string
		rules      int
	}{{"256 rules and 64 VIPs", large, 256}, {"back to 3 and 1", was.YAML, 3}, {"and once more", large, 256}} {
		began := time.Now()
		res, err := c.Members[1].Control().Apply(c.ctx, control.ApplyRequest{File: step.name, YAML: step.yaml})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		took := time.Since(began)
		for _, m := range res.Members {
			if !m.OK {
				t.Errorf("%s: %s: %s", step.name, m.Member, m.Error)
			}
		}
		now := c.agreed()
		s := c.status()
		t.Logf("%s: %d bytes, %d changes, after %s", step.name, len(now.YAML), len(res.Changes), took.Round(time.Millisecond))
		if now.Version != res.Version || len(s.Rules) != step.rules {
			t.Errorf("%s: version %d with %d rules is in force, want %d with %d", step.name, now.Version, len(s.Rules), res.Version, step.rules)
		}
		if took > 5*time.Second {
			t.Errorf("%s: took %s", step.name, took)
		}
	}
	entries, err := c.Members[1].Control().Audit(c.ctx, 3)
	c.ok(err)
	for i, e := range entries {
		if want := fmt.Sprintf("configuration %d: vip 10.77.0.101: ", i+2); !strings.HasPrefix(e.New, want) || e.Who == "" {
			t.Errorf("the audit log has %q by %q, want %q and more", e.New[:min(len(e.New), 60)], e.Who, want)
		}
	}
	for _, vip := range []string{"10.77.0.101", "10.77.0.163"} {
		c.ask(c.Client.Addrs[0], netip.AddrPortFrom(netip.MustParseAddr(vip), 80))
	}
	c.unbroken("new connections of a rule that did not change", probe.Stop()["all"])
	began := time.Now()
	c.ok(c.Members[2].Restart())
	c.agreed()
	t.Logf("a member with 64 VIPs left and was back after %s", time.Since(began).Round(time.Millisecond))
}
