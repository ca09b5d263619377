package acceptance

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestMissingService lets one of three members lack the service: it says so, its clients are
// refused at once, and nobody else's notice. (TestAsk: a rule whose only owner lacks it.)
func TestMissingService(t *testing.T) {
	beside(t)
	pages := netip.AddrPortFrom(lab.VIP, 8080)
	serve := func(m *lab.Member) {
		if m.Priority == 3 {
			return
		}
		if err := m.StartHTTP(pages.Port()); err != nil {
			t.Error(err)
		}
	}
	c := start(t, lab.Options{Clients: 30, Edit: serve, Rules: lab.DefaultRules + "\n- {name: part, protocol: tcp, ports: 8080}\n"})
	lacking := c.Members[2]
	const complaint = "rule part: this member answers, but nothing listens on tcp port 8080"
	c.warns(lacking, complaint)
	for _, m := range c.Members[:2] {
		if c.warning(m, complaint) {
			t.Errorf("%s complains, too", m.Name)
		}
	}
	refused := 0
	for _, src := range c.Client.Addrs {
		owner := c.explain(c.Members[0], src, pages).Owner
		answer, err := c.askWithin(time.Second, src, pages)
		switch {
		case owner == lacking.Name && errors.Is(err, syscall.ECONNREFUSED):
			refused++
		case owner == lacking.Name || err != nil || answer != owner:
			c.judge(0)("%s of %s: answered by %q, %v", src, owner, answer, err)
		}
	}
	if refused == 0 {
		t.Error("no client was refused: nothing was shown")
	}
	c.ok(lacking.StartHTTP(pages.Port()))
	for _, src := range c.Client.Addrs {
		c.ask(src, pages)
	}
	if soak() { // where the kernel's connection table had to be read, the next look is half a minute later
		c.sleep(35 * time.Second)
		if c.warning(lacking, complaint) {
			t.Errorf("%s still complains", lacking.Name)
		}
	}
}

// TestNoWeight takes the weight from all members: open connections go on, new ones meet
// silence, which status and log explain, until somebody has a weight again.
func TestNoWeight(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 30})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	sessions := c.hold(c.Client.Addrs[:20], echo)
	for _, m := range c.Members {
		c.setWeight(m, "echo", 0)
	}
	const complaint = "rule echo: nobody answers: rule echo has weight 0 on every started member"
	for _, m := range c.Members {
		c.warns(m, complaint)
	}
	c.converged(len(c.Members))
	for _, src := range c.Client.Addrs[20:] {
		ctx, cancel := context.WithTimeout(c.ctx, 150*time.Millisecond)
		conn, err := c.Client.DialFrom(ctx, src, echo)
		cancel()
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want silence", src, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if e := c.explain(c.Members[1], c.Client.Addrs[20], echo); e.Answered || e.Owner != "" || !strings.HasPrefix(e.Conclusion, "Nobody answers: rule echo has weight 0") {
		t.Errorf("explain says %s", e.Conclusion)
	}
	log, err := os.ReadFile(c.Members[0].LogPath())
	c.ok(err)
	if !strings.Contains(string(log), complaint) {
		t.Errorf("the log does not tell %q:\n%s", complaint, c.Members[0].Log(10))
	}
	c.owners(c.Client.Addrs) // the other rule

	c.setWeight(c.Members[1], "echo", 10)
	c.eventually("node2 answers all", func() bool { return c.owns(c.Members[1], "echo") && !c.warning(c.Members[1], complaint) })
	again := c.hold(c.Client.Addrs[20:], echo)
	if at := again.at("node2"); at != len(again.list) {
		t.Errorf("%d of %d new connections are at node2, the only one with a weight", at, len(again.list))
	}
	again.stop()
	sessions.stop()
}

// TestCableIsMissed: a member that clients cannot reach says so, though to itself it is the
// whole cluster; also if it is started that way.
func TestCableIsMissed(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{})
	m := c.Members[1]
	const complaint = "eth0 has no carrier, so no client is heard: "
	if c.warning(m, complaint) {
		t.Error("it complains of a good cable")
	}
	c.ok(c.Switch.CutCable(c.ctx, m.Host))
	c.warns(m, complaint)
	c.ok(m.Stop())
	c.ok(m.Start())
	c.eventually("status after a start", func() bool { _, err := m.Status(c.ctx); return err == nil })
	c.warns(m, complaint)
	c.ok(c.Switch.PlugCable(c.ctx, m.Host))
	c.converged(len(c.Members))
	c.eventually("no complaint", func() bool { return !c.warning(m, complaint) })
	c.hasEvent(m, "link", "eth0 has carrier again")
}

// setWeight gives a member a weight in one rule.
func (c *cluster) setWeight(m *lab.Member, rule string, weight int) {
	c.t.Helper()
	m.Config["member"].(map[string]any)["rules"] = map[string]any{rule: map[string]any{"weight": weight}}
	c.ok(m.Reload())
}

// warning reports whether a member warns like this.
func (c *cluster) warning(m *lab.Member, begin string) bool {
	c.t.Helper()
	s, err := m.Status(c.ctx)
	c.ok(err)
	return slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, begin) })
}
