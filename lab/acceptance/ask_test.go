package acceptance

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

const askRules = `
- {name: web, vip: all, protocol: tcp, ports: 80, mode: multiple, affinity: single}
- {name: echo, vip: all, protocol: tcp, ports: 7, mode: multiple, affinity: single}
- {name: "off", vip: all, protocol: tcp, ports: 99, mode: disabled}
- {name: zero, vip: all, protocol: tcp, ports: 98, mode: multiple}
- {name: bare, vip: all, protocol: tcp, ports: 97, mode: single}
- {name: keep, vip: all, protocol: tcp, ports: 96, mode: single, preempt: false}
`

// TestAsk holds what explain and queryport say against what clients meet, while members
// drain, stop and are lost.
func TestAsk(t *testing.T) {
	weights := map[string]any{"zero": map[string]any{"weight": 0}}
	c := start(t, lab.Options{Members: 2, Clients: 40, Rules: askRules, Edit: func(m *lab.Member) {
		m.Config["member"].(map[string]any)["rules"] = weights
	}})
	n1, n2 := c.Members[0], c.Members[1]
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	clients := c.Client.Addrs[:12]
	for client, owner := range c.owners(clients) {
		for _, asked := range c.Members {
			e := c.explain(asked, client, web)
			if e.Owner != owner || !e.Answered || !strings.HasPrefix(e.Conclusion, owner+" answers: it owns bucket") {
				t.Errorf("%s is answered by %s, but %s says: %s", client, owner, asked.Name, e.Conclusion)
			}
			for _, p := range e.Members {
				if (p.Member == owner) != (p.New.Verdict == "accept") || p.Error != "" || p.Listens != "yes" || !p.Lease {
					t.Errorf("%s: %+v", client, p)
				}
			}
		}
	}
	for port, want := range map[uint16]string{
		99: "Nobody answers: rule off is disabled.",
		98: "Nobody answers: rule zero has weight 0 on every started member.",
		97: "node1 answers, with a refusal: ",
		95: "node1 answers, with a refusal: ", // no rule
	} {
		if e := c.explain(n2, clients[0], netip.AddrPortFrom(lab.VIP, port)); !strings.HasPrefix(e.Conclusion, want) {
			t.Errorf("port %d: %s", port, e.Conclusion)
		}
	}
	c.warns(n1, "rule zero: nobody answers: rule zero has weight 0 on every started member")
	c.warns(n1, "rule bare: this member answers, but nothing listens on tcp port 97 of 10.77.0.100: its clients are refused: start the service, or run nlbctl rule drain bare --member node1")
	c.hasEvent(n1, "no owner", "rule zero")

	c.queryWeb(n2, 12)
	c.keepsOwner()

	// node1 drains: it keeps the connection, node2 answers new ones.
	held := c.hold([]netip.Addr{c.clientOf("node1", clients)}, echo)
	c.act(n2, control.StateRequest{Action: control.Drain, Members: []string{"node1"}})
	c.waitState("node1", "draining")
	c.converged(2)
	e := c.explain(n2, held.list[0].client(), echo)
	if e.Owner != "node2" || !strings.Contains(e.Conclusion, "node1 goes on to answer 1 connection of this client") {
		t.Errorf("while draining: %s\n%s", e.Conclusion, strings.Join(e.Steps, "\n"))
	}
	if p := e.Members[0]; p.Flag != "residual" || p.New.Verdict != "drop" || p.Existing.Reason != "residual" || p.Unknown.Verdict != "drop" {
		t.Errorf("while draining: %+v", p)
	}
	held.stop()

	// All stopped, then one lost.
	c.act(n2, control.StateRequest{Action: control.Stop, All: true})
	c.waitState("node2", "stopped")
	if e := c.explain(n1, clients[0], web); e.Conclusion != "Nobody answers: no member is started." {
		t.Errorf("all stopped: %s", e.Conclusion)
	}
	c.act(n2, control.StateRequest{Action: control.Start, All: true})
	c.converged(2)
	c.ok(n2.Kill())
	c.converged(1)
	p, err := n1.Control().QueryPort(c.ctx, control.PortRequest{VIP: lab.VIP, Port: 80, Protocol: "tcp"})
	c.ok(err)
	if len(p.Counters) != 2 || p.Counters[1].Member != "node2" || !strings.Contains(p.Counters[1].Error, "not reachable") {
		t.Errorf("node2 is lost: %+v", p.Counters)
	}
	if e := c.explain(n1, clients[0], web); e.Owner != "node1" || len(e.Members) != 1 || !e.Answered {
		c.judge(0)("alone: %s", e.Conclusion)
	}
	c.hasEvent(n1, "owner", "rule web")
}

func (c *cluster) explain(asked *lab.Member, client netip.Addr, to netip.AddrPort) control.Explanation {
	c.t.Helper()
	e, err := asked.Control().Explain(c.ctx, control.ExplainRequest{Client: client, VIP: to.Addr(), Port: to.Port(), Protocol: "tcp"})
	c.ok(err)
	return e
}

// queryWeb: shares, and that all members' SYNs together are at least those that were sent.
func (c *cluster) queryWeb(asked *lab.Member, syns uint64) {
	c.t.Helper()
	p, err := asked.Control().QueryPort(c.ctx, control.PortRequest{VIP: lab.VIP, Port: 80, Protocol: "tcp"})
	c.ok(err)
	if p.Rule == nil || p.Rule.Name != "web" || len(p.Shares) != 2 || p.Shares[0].Buckets != 2048 || p.Shares[1].Percent != 50 {
		c.t.Errorf("%+v", p)
	}
	total, refused := uint64(0), uint64(0)
	for _, m := range p.Counters {
		if m.Error != "" || m.Counts["new"] == 0 {
			c.t.Errorf("%+v", m)
		}
		total, refused = total+m.Counts["new"], refused+m.Counts["not-owner"]
	}
	if total < syns || refused < syns {
		c.t.Errorf("%d SYNs were sent; accepted %d, dropped as another's %d", syns, total, refused)
	}
}

// keepsOwner lets node1 restart: rule keep stays with node2, rule bare returns to node1.
func (c *cluster) keepsOwner() {
	c.t.Helper()
	c.ok(c.Members[0].Restart())
	c.converged(2)
	rules := map[string]string{}
	for _, r := range c.status().Rules {
		if len(r.Owners) == 1 {
			rules[r.Name] = r.Owners[0].Member
		}
	}
	if rules["keep"] != "node2" || rules["bare"] != "node1" {
		c.judge(0)("after the restart of node1: %v", rules)
	}
}

// clientOf finds a client that a member answers.
func (c *cluster) clientOf(member string, clients []netip.Addr) netip.Addr {
	c.t.Helper()
	for client, owner := range c.owners(clients) {
		if owner == member {
			return client
		}
	}
	c.t.Fatalf("%s answers no client", member)
	return netip.Addr{}
}

func (s *session) client() netip.Addr {
	return netip.MustParseAddrPort(s.conn.LocalAddr().String()).Addr()
}

// warns waits for a warning that begins like this.
func (c *cluster) warns(m *lab.Member, begin string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for {
		s, err := m.Status(ctx)
		c.ok(err)
		if slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, begin) }) {
			return
		}
		c.sleep(100 * time.Millisecond)
	}
}

func (c *cluster) hasEvent(m *lab.Member, kind, text string) {
	c.t.Helper()
	events, err := m.Control().Events(c.ctx, 0, 0)
	c.ok(err)
	if !slices.ContainsFunc(events, func(e control.Event) bool { return e.Kind == kind && strings.Contains(e.Message, text) }) {
		c.t.Errorf("%s has no event %q of %s", m.Name, kind, text)
	}
}

// TestTraceOfAll: of each connection the owner tells that it accepted the SYN, the other
// that it dropped it; when the caller hangs up, the next one may trace.
func TestTraceOfAll(t *testing.T) {
	c := start(t, lab.Options{Members: 2, Clients: 40})
	for range 2 {
		c.traceOnce()
	}
}

func (c *cluster) traceOnce() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	clients := c.Client.Addrs[:10]
	accepted, dropped := map[netip.Addr]string{}, map[netip.Addr]string{}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		request := control.TraceRequest{Port: 80, All: true}
		ended <- c.Members[0].Control().Trace(ctx, request, func() { close(begun) }, func(s control.Sample) error {
			if s.Error != "" || s.VIP != lab.VIP || s.Port != 80 || s.Protocol != "tcp" || s.Rule != "web" {
				c.t.Errorf("%+v", s)
			}
			switch {
			case s.Verdict == "accept" && s.Reason == "new":
				accepted[s.Client] = s.Member
			case s.Verdict == "drop" && s.Reason == "not-owner":
				dropped[s.Client] = s.Member
			}
			if len(accepted) == len(clients) && len(dropped) == len(clients) {
				cancel()
			}
			return nil
		})
	}()
	select {
	case <-begun:
	case err := <-ended:
		c.t.Fatalf("the trace did not begin: %v", err)
	}
	var owners map[netip.Addr]string
	for ctx.Err() == nil { // again and again: the other member may begin later, and pauses
		owners = c.owners(clients)
		c.sleep(100 * time.Millisecond)
	}
	c.ok(<-ended)
	for client, owner := range owners {
		if accepted[client] != owner || dropped[client] == owner || dropped[client] == "" {
			c.t.Errorf("%s is answered by %s: accepted by %q, dropped by %q", client, owner, accepted[client], dropped[client])
		}
	}
}

// TestOneMember: a cluster of one is a cluster.
func TestOneMember(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 1, Clients: 4})
	s := c.status()
	if s.DefaultHost != "node1" || len(s.Rules[0].Owners) != 1 || s.Rules[0].Owners[0].Buckets != 4096 {
		t.Errorf("%+v", s)
	}
	c.owners(c.Client.Addrs)
	if e := c.explain(c.Members[0], c.Client.Addrs[0], web); !e.Answered {
		t.Error(e.Conclusion)
	}
	c.ok(c.Members[0].Restart())
	c.converged(1)
	c.owners(c.Client.Addrs)
}
