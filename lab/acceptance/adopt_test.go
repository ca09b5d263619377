package acceptance

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestJoinAdopts starts a member whose file has another section cluster: it adopts what is
// in force, says once in its log and all the time in its status what is different, and goes
// on; until its file is put in force.
func TestJoinAdopts(t *testing.T) {
	beside(t)
	strays := false
	c := start(t, lab.Options{Clients: 60, Edit: func(m *lab.Member) {
		if strays && m.Priority == 3 {
			section := m.Config["cluster"].(map[string]any)
			section["partition"] = "majority"
			section["vips"] = []string{"10.77.0.99"} // and so another cluster MAC
			section["rules"] = []any{map[string]any{"name": "stray", "ports": "4000-4010"}}
		}
	}})
	joiner := c.Members[2]
	c.ok(joiner.Stop())
	c.ok(os.RemoveAll(joiner.Config["state_dir"].(string))) // a new machine
	was := c.agreed()
	strays = true
	mark := len(c.log(joiner))
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs}, Timeout: 3 * time.Second})
	c.ok(joiner.Start())
	if now := c.agreed(); now.Version != was.Version || now.YAML != was.YAML {
		t.Errorf("version %d became %d:\n%s", was.Version, now.Version, now.YAML)
	}
	c.sleep(1500 * time.Millisecond) // in which it begins anew, and a loop of errors would show
	c.agreed()
	c.unbroken("new connections while it joined", probe.Stop()["all"])
	differs := []string{"does not count", "rule stray: added", "rule web: removed", "vip 10.77.0.99: added", "partition: serve -> majority"}
	c.fileDiffers(joiner, differs...)
	for _, m := range c.Members[:2] {
		c.fileDiffers(m)
	}
	log, err := os.ReadFile(joiner.LogPath())
	c.ok(err)
	if n := strings.Count(string(log), "level=WARN msg=\"the section cluster of this member's file differs"); n < 1 || n > 2 { // again when it began anew
		t.Errorf("the log of %s tells %d times that its file differs:\n%s", joiner.Name, n, joiner.Log(20))
	}
	if before, _, anew := strings.Cut(string(log[mark:]), "begin anew under"); !anew || strings.Contains(before, "event=converged") {
		c.judge(0)("%s was let in before it had the cluster MAC:\n%s", joiner.Name, joiner.Log(20))
	}
	if strings.Contains(string(log), "level=ERROR") {
		t.Errorf("%s has errors in its log:\n%s", joiner.Name, joiner.Log(20))
	}
	text, err := os.ReadFile(fmt.Sprintf("%s/%s.yaml", c.Dir, joiner.Name))
	c.ok(err)
	mine := strings.Replace(string(text), "10.77.0.99", lab.VIP.String(), 1) // else all begin anew
	res, err := joiner.Control().Apply(c.ctx, control.ApplyRequest{File: joiner.Name, YAML: mine})
	c.ok(err)
	t.Logf("its file in force: %s", strings.Join(res.Changes, "; "))
	c.agreed()
	c.fileDiffers(joiner, "vip 10.77.0.99: added")
	c.fileDiffers(c.Members[0], "rule stray: removed")
}

// fileDiffers wants a member to warn with all these words in one line, or not to warn that its
// file differs.
func (c *cluster) fileDiffers(m *lab.Member, words ...string) {
	c.t.Helper()
	s, err := m.Status(c.ctx)
	c.ok(err)
	i := slices.IndexFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "differs from configuration") })
	switch {
	case i < 0 && len(words) > 0:
		c.t.Errorf("%s does not warn of its file: %q", m.Name, s.Warnings)
	case i >= 0 && len(words) == 0:
		c.t.Errorf("%s warns: %q", m.Name, s.Warnings[i])
	case i >= 0:
		for _, w := range words {
			if !strings.Contains(s.Warnings[i], w) {
				c.t.Errorf("%s warns without %q: %q", m.Name, w, s.Warnings[i])
			}
		}
	}
}

// TestApplyPartition changes the configuration on both sides of a cut: when they meet, one
// of the changes is in force on all, and who loses his is told.
func TestApplyPartition(t *testing.T) {
	c := start(t, lab.Options{Members: 4, Clients: 100, Edit: undampened})
	for round := range trials(1, 10) {
		sides := [][]*lab.Member{c.Members[:2], c.Members[2:]}
		if round%2 == 1 {
			sides = [][]*lab.Member{c.Members[3:], c.Members[:3]}
		}
		was := c.agreed()
		c.ok(c.Switch.Partition(c.ctx, append(hosts(sides[0]), c.Client.Host), hosts(sides[1])))
		var made [2]applied
		var at [2]control.ConfigVersion
		for i, side := range sides {
			c.awaitAlive(side[0], len(side))
			a := c.begin(side[len(side)-1], was, fmt.Sprintf("side%d-%d", i, round), 1000+2*round+i)
			made[i] = <-a.result
			c.ok(made[i].err)
			v, err := side[0].Control().Config(c.ctx, 0)
			c.ok(err)
			at[i] = v
		}
		if at[0].Version != was.Version+1 || at[1].Version != was.Version+1 || at[0].Digest == at[1].Digest {
			t.Fatalf("round %d: the sides have versions %d %s and %d %s", round, at[0].Version, at[0].Digest, at[1].Version, at[1].Digest)
		}
		c.ok(c.Switch.Heal(c.ctx))
		now := c.agreed()
		won := slices.IndexFunc(at[:], func(v control.ConfigVersion) bool { return v.Digest == now.Digest })
		if won < 0 || now.YAML != at[won].YAML {
			t.Fatalf("round %d: neither side's configuration is in force:\n%s", round, now.YAML)
		}
		lost := fmt.Sprintf("side%d-%d", 1-won, round)
		for _, m := range sides[1-won] {
			c.told(m, "config", fmt.Sprintf("configuration %d", now.Version), "rule "+lost+": removed", "another side of a partition")
		}
		t.Logf("round %d: of %s | %s the change of side %d is in force", round, names(hosts(sides[0])), names(hosts(sides[1])), won)
		c.excused = c.quietBalance() // until the first beacons two owners may exist: see CONVERGENCE.md
		c.sendDatagrams(10 * time.Millisecond)
	}
	c.answeredOnce(time.Second)
}

func hosts(members []*lab.Member) (list []*lab.Host) {
	for _, m := range members {
		list = append(list, m.Host)
	}
	return list
}

// awaitAlive waits until a member has agreed with n members, itself included.
func (c *cluster) awaitAlive(m *lab.Member, n int) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; c.sleep(20 * time.Millisecond) {
		s, err := m.Status(c.ctx)
		c.ok(err)
		alive := 0
		for _, other := range s.Members {
			if other.Alive {
				alive++
			}
		}
		if s.Converged && alive == n {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %d members alive, converged %t; want %d", m.Name, alive, s.Converged, n)
		}
	}
}

// told wants an event of a member that has all these words.
func (c *cluster) told(m *lab.Member, kind string, words ...string) {
	c.t.Helper()
	events, err := m.Control().Events(c.ctx, 0, 0)
	c.ok(err)
	if !slices.ContainsFunc(events, func(e control.Event) bool {
		return e.Kind == kind && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e.Message, w) })
	}) {
		c.t.Errorf("%s has no event %s with %q:", m.Name, kind, words)
		for _, e := range events {
			if e.Kind == kind {
				c.t.Logf("  %s", e.Message)
			}
		}
	}
}
